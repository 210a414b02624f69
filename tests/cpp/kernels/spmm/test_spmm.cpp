// Single rows times a panel: bit for bit, also where y passes the caches by or has no room for columns between output rows.
#include <algorithm>

#include "kernels/spmm/in_order.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Spmm, AddsInTheOrderOfColumnsForEveryWidthAndWritesNothingElse) { expect_products_in_order<1>(&Kernels::spmm); }

SpmmArgs<1> args_of(const Tile<1>& tile, const float* x, float* y, std::int64_t y_row_stride, std::uint32_t width) {
  return {.strip_starts = tile.starts.data(),
          .order = tile.order.data(),
          .entries = tile.entries.data(),
          .x = x,
          .sums = nullptr,
          .sums_row_stride = 0,
          .y = y,
          .y_row_stride = y_row_stride,
          .strips = tile.count,
          .width = width,
          .bias = nullptr,
          .from_afar = true,
          .fetch_y = false,
          .stream_y = false,
          .places = nullptr,
          .activation = Activation::none};
}

TEST(Spmm, StreamsTheSameBitsPastTheCaches) {
  const std::vector<float> x = reals(500, 131);
  for_each_isa([&] {
    const Tile<1> tile(23, 500, kTileColumns, 132);
    for (const Flush side : {Flush::end, Flush::beginning}) {
      Guarded<float> y(std::vector<float>(23 * 80, 77.0f), side);  // rows whole cache lines, 16 floats apart
      SpmmArgs<1> args = args_of(tile, x.data(), y.data(), 80, kTileColumns);
      args.stream_y = true;
      kernels().spmm(args);
      ASSERT_TRUE(y.untouched());
      std::vector<float> expected(23 * 80, 77.0f);
      for (std::uint32_t i = 0; i < tile.count; ++i) {
        const std::vector<float> row = tile.row(i, 0, kTileColumns, x.data(), nullptr, nullptr);
        std::copy(row.begin(), row.end(), expected.begin() + tile.order[i] * 80);
      }
      expect_same_bits(y.span(), expected);
    }
  });
}

// Output rows of `inside` columns, `pitch` apart in the panel, side by side in y.
TEST(Spmm, LeavesOutTheColumnsBetweenOutputRows) {
  const std::vector<float> x = reals(500, 133);
  for_each_isa([&] {
    const Index lanes = kernels().lanes;
    if (lanes < kLeastPicked) return;
    for (const auto& [inside, pitch] : {std::pair<Index, Index>{7, 9}, {5, 7}, {14, 16}, {1, 3}, {28, 30}, {64, 64}, {9, 20}})
      for (Index width = lanes; width <= widest_tile(kernels()); width += lanes) {
        SCOPED_TRACE(std::to_string(inside) + " of " + std::to_string(pitch) + ", width " + std::to_string(width));
        const auto is_output = [p = pitch, n = inside](Index column) { return column % p < n; };
        PanelPlaces places{};
        Index outputs = 0;
        for (Index v = 0; v < width / lanes; ++v) {
          places.begins[v] = static_cast<std::int32_t>(outputs);
          std::vector<std::uint32_t> first, then;
          for (Index lane = 0; lane < lanes; ++lane)
            (is_output(v * lanes + lane) ? first : then).push_back(static_cast<std::uint32_t>(lane));
          places.outputs[v] = static_cast<std::int32_t>(first.size());
          outputs += static_cast<Index>(first.size());
          first.insert(first.end(), then.begin(), then.end());
          std::copy(first.begin(), first.end(), places.lanes + v * lanes);
        }
        while (places.whole < width / lanes && places.begins[places.whole] + lanes <= outputs) ++places.whole;
        const Tile<1> tile(17, 500, static_cast<std::uint32_t>(width), 134);
        const Index stride = outputs + 3;
        Guarded<float> y(std::vector<float>(16 * stride + outputs, 77.0f), Flush::end);
        SpmmArgs<1> args = args_of(tile, x.data(), y.data(), stride, static_cast<std::uint32_t>(width));
        args.places = &places;
        args.fetch_y = true;
        kernels().spmm(args);
        ASSERT_TRUE(y.untouched());
        std::vector<float> expected(16 * stride + outputs, 77.0f);
        for (std::uint32_t i = 0; i < tile.count; ++i) {
          const std::vector<float> row = tile.row(i, 0, static_cast<std::uint32_t>(width), x.data(), nullptr, nullptr);
          Index at = tile.order[i] * stride;
          for (Index c = 0; c < width; ++c)
            if (is_output(c)) expected[at++] = row[c];
        }
        expect_same_bits(y.span(), expected);
        if (HasFatalFailure()) return;
      }
  });
}

}  // namespace
}  // namespace sparse_engine
