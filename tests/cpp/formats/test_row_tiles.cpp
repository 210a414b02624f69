// The layout that wide products read: where tiles begin and what a block of X is.
#include "formats/row_tiles.hpp"

#include <cmath>
#include <memory>

#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(RowTiles, CoverAllRowsInOrderAndNeverCrossAGroup) {
  for (const Index rows : {0, 1, 31, 32, 33, 127, 128, 129, 1000, 2049})
    for (const Index group : {1, 7, 32, 100, 256, 300, 5000}) {
      const std::vector<Index> starts = tile_starts(rows, group);
      ASSERT_EQ(starts.back(), rows);
      if (rows > 0) {
        ASSERT_EQ(starts.front(), 0);
      }
      for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
        ASSERT_LT(starts[i], starts[i + 1]);
        ASSERT_LE(starts[i + 1] - starts[i], kMaxTileRows);
        ASSERT_EQ(starts[i] / group, (starts[i + 1] - 1) / group) << rows << " rows in groups of " << group;
      }
    }
}

// `w` in strips of `height` rows, whose columns are the union of theirs.
template <int height>
std::shared_ptr<const Tiles> tiles_of(const Weights& w, const TileShape& shape) {
  std::vector<Index> starts = {0}, columns;
  std::vector<float> values;
  for (Index strip = 0; strip < w.rows / height; ++strip) {
    for (Index col = 0; col < w.cols; ++col) {
      float entry[height];
      bool any = false;
      for (int r = 0; r < height; ++r) any |= (entry[r] = w.values[(strip * height + r) * w.cols + col]) != 0;
      if (!any) continue;
      columns.push_back(col);
      values.insert(values.end(), entry, entry + height);
    }
    starts.push_back(static_cast<Index>(columns.size()));
  }
  return std::make_shared<StripTiles<height>>(shape, w.rows, w.cols, starts, columns, values);
}

// Every tile of W · X against a plain loop. X is found where the shape says.
void expect_product(const Tiles& tiles, const Weights& w, Index group_rows) {
  const TileShape& shape = tiles.shape();
  const auto taps = static_cast<Index>(shape.taps.size());
  const Index channels = (w.cols + taps - 1) / taps;
  Index last_tap = 0;
  for (const std::int32_t tap : shape.taps) last_tap = std::max<Index>(last_tap, tap);
  const std::vector<float> x = integers(channels * shape.channel_step + last_tap + kMostTileColumns, 191),
                           bias = integers(w.rows, 192);
  EXPECT_EQ(shape.group_rows, group_rows);
  for_each_isa([&] {
    for (const Index width :
         {Index{kernels().lanes}, Index{3} * kernels().lanes, Index{8} * kernels().lanes, Index{kTileColumns}}) {
      Index row = 0;
      for (Index tile = 0; tile < tiles.count(); ++tile) {
        ASSERT_EQ(tiles.row_begin(tile), row);
        const Index rows = tiles.row_end(tile) - row;
        std::vector<float> partial(rows * (width + 2), kNaN), y(rows * (width + 1), kNaN);
        tiles.multiply({.kernels = &kernels(),
                        .tile = tile,
                        .x = x.data(),
                        .width = width,
                        .bias = bias.data(),
                        .initial = nullptr,
                        .initial_row_stride = 0,
                        .activation = Activation::relu,
                        .y = y.data(),
                        .y_row_stride = width + 1,
                        .fetch_y = true,
                        .stream_y = false,
                        .places = nullptr,
                        .first_block = 0,
                        .end_block = tiles.blocks(),
                        .partial = partial.data(),
                        .partial_row_stride = width + 2});
        for (Index r = 0; r < rows; ++r)
          for (Index c = 0; c < width; ++c) {
            double sum = bias[row + r];
            for (Index k = 0; k < w.cols; ++k)
              sum += double{w.values[(row + r) * w.cols + k]} * x[k / taps * shape.channel_step + shape.taps[k % taps] + c];
            ASSERT_EQ(y[r * (width + 1) + c], std::max(0.0, sum)) << "row " << row + r << ", column " << c;
          }
        row += rows;
      }
      ASSERT_EQ(row, w.rows);
    }
  });
}

TEST(RowTiles, MultiplyBlockByBlockWhateverTheShapeOfXAndMoveToAnother) {
  for (const auto& [rows, cols] : {std::pair<Index, Index>{8, 5}, {132, 36}, {420, 90}, {4, 0}})
    for (const Index block : {1, 3, 1000})
      for (const std::vector<std::int32_t>& taps : {std::vector<std::int32_t>{0}, {0, 1, 2}, {7, 1, 4, 0, 9}}) {
        SCOPED_TRACE(std::to_string(rows) + " × " + std::to_string(cols) + ", " + std::to_string(block) +
                     " channels a block, " + std::to_string(taps.size()) + " taps");
        const Weights w = integer_weights(rows, cols, 0.4, 193);
        const TileShape shape{100, block, 70, taps};
        std::vector<std::int32_t> spread;
        for (const std::int32_t tap : taps) spread.push_back(3 * tap + 2);
        const TileShape other{100, block, 131, spread};
        for (const auto& tiles : {tiles_of<1>(w, shape), tiles_of<2>(w, shape), tiles_of<4>(w, shape)}) {
          expect_product(*tiles, w, 100);
          EXPECT_GE(tiles->bytes(), static_cast<Index>(tiles->count() * sizeof(Index)));
          const std::shared_ptr<const Tiles> moved = tiles->moved(other);
          ASSERT_NE(moved, nullptr);
          EXPECT_EQ(moved->shape(), other);
          expect_product(*moved, w, 100);
          EXPECT_EQ(tiles->moved({100, block + 1, 131, spread}), nullptr) << "cut into other blocks";
          EXPECT_EQ(tiles->moved({50, block, 131, spread}), nullptr) << "cut into other tiles";
          if (HasFatalFailure()) return;
        }
      }
}

}  // namespace
}  // namespace sparse_engine
