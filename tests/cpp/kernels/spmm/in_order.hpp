// Wide products as their headers promise them to the last bit: sums in the order of columns, one rounding each where the
// instruction set fuses, two where it does not.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "base/registry.hpp"
#include "kernels/table.hpp"
#include "ops/spmm/blocks.hpp"
#include "reference.hpp"

namespace sparse_engine::reference {

inline float multiply_add(float a, float b, float c) {
  if (std::string(kernels().name) != "baseline") return std::fma(a, b, c);
  const volatile float product = a * b;  // or this compiler might fuse
  return product + c;
}

// A tile of strips with 0, 1, 2, … entries each, in a shuffled order, over rows of X that begin anywhere.
template <int height>
struct Tile {
  Tile(std::uint32_t strips, std::int64_t x_floats, std::uint32_t width, std::uint64_t seed) : count(strips) {
    Random random(seed);
    order.resize(strips);
    std::iota(order.begin(), order.end(), std::uint8_t{0});
    for (std::uint32_t i = 0; i < strips; ++i) std::swap(order[i], order[random.between(i, strips - 1)]);
    order.resize(strips + kStripsAhead);
    starts = {0};
    for (std::uint32_t i = 0; i < strips; ++i) {
      for (std::uint32_t k = 0; k < i % 11; ++k) {
        TileEntry<height>& entry = entries.emplace_back();
        entry.offset = static_cast<std::uint32_t>(random.between(0, x_floats - width));
        for (float& v : entry.values) v = static_cast<float>(random.unit() * 2 - 1);
      }
      starts.push_back(static_cast<std::uint32_t>(entries.size()));
    }
  }

  // Row `r` of strip number `i` in the order of the kernel, column by column.
  std::vector<float> row(std::uint32_t i, int r, std::uint32_t width, const float* x, const float* sums,
                         const float* bias) const {
    std::vector<float> out(width);
    for (std::uint32_t c = 0; c < width; ++c) {
      float sum = sums ? sums[c] : 0.0f;
      if (bias) sum += *bias;
      for (std::uint32_t k = starts[i]; k < starts[i + 1]; ++k)
        sum = multiply_add(entries[k].values[r], x[entries[k].offset + c], sum);
      out[c] = sum;
    }
    return out;
  }

  std::uint32_t count;
  std::vector<std::uint32_t> starts;
  std::vector<std::uint8_t> order;
  std::vector<TileEntry<height>> entries;
};

// Every width of the instruction set, with and without sums to begin with (apart, or y itself), bias and relu.
template <int height>
void expect_products_in_order(void (*Kernels::*kernel)(const SpmmArgs<height>&)) {
  constexpr std::uint32_t kStrips = 13;
  constexpr std::int64_t kRows = kStrips * height, kXFloats = 300;
  const std::vector<float> x_values = reals(kXFloats, 121), bias_values = reals(kRows, 122);
  for_each_isa([&] {
    const auto widest = static_cast<std::uint32_t>(widest_tile(kernels()));
    for (std::uint32_t width = 0; width <= widest; width += static_cast<std::uint32_t>(kernels().lanes))
      for (const int begins : {0, 1, 2})  // with nothing, with sums that lie apart, with y
        for (const bool with_bias : {false, true})
          for (const Activation activation : kExactActivations)
            for (const Flush side : {Flush::end, Flush::beginning}) {
              SCOPED_TRACE("width " + std::to_string(width) + ", begins " + std::to_string(begins) +
                           (with_bias ? ", bias" : ""));
              const Tile<height> tile(kStrips, kXFloats, width, 123 + width);
              const std::int64_t y_stride = width + 5, sums_stride = begins == 2 ? y_stride : width + 1;
              const std::vector<float> before = reals(kRows * y_stride - 5, 124), given = reals(kRows * sums_stride - 1, 125);
              Guarded<float> x(x_values, side), bias(bias_values, side), y(before, side), sums(given, side);
              Guarded<TileEntry<height>> entries(tile.entries, side);
              (kernels().*kernel)({.strip_starts = tile.starts.data(),
                                   .order = tile.order.data(),
                                   .entries = entries.data(),
                                   .x = x.data(),
                                   .sums = begins == 0   ? nullptr
                                           : begins == 1 ? sums.data()
                                                         : y.data(),
                                   .sums_row_stride = sums_stride,
                                   .y = y.data(),
                                   .y_row_stride = y_stride,
                                   .strips = kStrips,
                                   .width = width,
                                   .bias = with_bias ? bias.data() : nullptr,
                                   .from_afar = begins == 1,
                                   .fetch_y = with_bias,
                                   .stream_y = false,
                                   .places = nullptr,
                                   .activation = activation});
              ASSERT_TRUE(y.untouched());
              std::vector<float> expected = before;
              for (std::uint32_t i = 0; i < kStrips; ++i)
                for (int r = 0; r < height; ++r) {
                  const std::int64_t row = std::int64_t{tile.order[i]} * height + r;
                  const float* begin = begins == 0 ? nullptr : (begins == 1 ? given : before).data() + row * sums_stride;
                  const std::vector<float> out =
                      tile.row(i, r, width, x_values.data(), begin, with_bias ? &bias_values[row] : nullptr);
                  for (std::uint32_t c = 0; c < width; ++c)
                    expected[row * y_stride + c] = static_cast<float>(activated(out[c], activation));
                }
              expect_same_bits(y.span(), expected);
              if (testing::Test::HasFatalFailure()) return;
            }
  });
}

}  // namespace sparse_engine::reference
