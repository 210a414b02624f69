#include "ops/spmm/tiled_output.hpp"

#include <gtest/gtest.h>

#include "base/registry.hpp"
#include "formats/plan_cache.hpp"
#include "ops/spmm/blocks.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(TiledOutput, ScratchHoldsTheLargestTile) {
  const Csr csr = integer_weights(300, 10, 0.5, 1).csr();
  const auto tiles = csr.plans().layouts().tiles(panel_shape(csr, 300, 10, 64));
  Index largest = 0;
  for (Index tile = 0; tile < tiles->count(); ++tile)
    largest = std::max(largest, tiles->row_end(tile) - tiles->row_begin(tile));
  const TiledOutput output(kernels(), tiles, {1, 64, 64}, {nullptr, 1, 300, 1, 64, 0, 64, 64, 1},
                           TiledOutput::Rows::contiguous);
  EXPECT_EQ(output.result_floats(), largest * 64);
  const TiledOutput wide(kernels(), tiles, {1, 64, 64}, {nullptr, 1, 300, 1, 64, 0, 64, 64, 1}, TiledOutput::Rows::contiguous,
                         kMostTileColumns);
  EXPECT_EQ(wide.result_floats(), largest * kMostTileColumns);
}

TEST(TiledOutput, PlacesNameTheColumnsThatAreOutputs) {
  const Csr csr = integer_weights(32, 10, 0.5, 1).csr();
  constexpr Index kHeight = 4, kWidth = 5, kPitch = 7;
  const ColumnGrid grid{kHeight, kWidth, kPitch};
  for_each_isa([&] {
    const Kernels& table = kernels();
    if (table.lanes < kLeastPicked) return;
    const TiledOutput output(table, csr.plans().layouts().tiles(panel_shape(csr, 32, 10, 64)), grid,
                             {nullptr, 1, 32, kHeight, kWidth, 0, kHeight * kWidth, kWidth, 1}, TiledOutput::Rows::gaps);
    const PanelPlaces places =
        output.places_of({.image = 0, .first_row = 0, .position = 0, .columns = grid.columns()}, kHeight);
    Index outputs = 0;
    for (Index v = 0; v * table.lanes < grid.columns(); ++v)
      for (Index i = 0; i < places.outputs[v]; ++i, ++outputs) {
        const Index column = v * table.lanes + places.lanes[v * table.lanes + i];
        EXPECT_EQ(places.begins[v] + i, column / kPitch * kWidth + column % kPitch);
        EXPECT_LT(column % kPitch, kWidth);
      }
    EXPECT_EQ(outputs, kHeight * kWidth);
  });
}

TEST(TiledOutput, RefusesAResultWhoseBytesWrap) {
  const Csr csr = integer_weights(32, 10, 0.5, 1).csr();
  const auto tiles = csr.plans().layouts().tiles(panel_shape(csr, 32, 10, 64));
  const auto of_images = [&](Index batch) {
    TiledOutput(kernels(), tiles, {64, 64, 64}, {nullptr, batch, 32, 64, 64, 0, 0, 0, 0}, TiledOutput::Rows::gaps);
  };
  EXPECT_NO_THROW(of_images(Index{1} << 40));
  EXPECT_REFUSED(of_images(Index{1} << 45), "y in bytes");
}

}  // namespace
}  // namespace sparse_engine
