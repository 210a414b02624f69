#include "ops/spmm/blocks.hpp"

#include <gtest/gtest.h>

#include "base/registry.hpp"
#include "base/tuning.hpp"
#include "reference.hpp"
#include "sparse_engine/bsr.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// Of X, beside which weights and sums stream through the L1 cache.
Index three_quarters_of_level1() { return tuning().block_floats * 3 / 4 * static_cast<Index>(sizeof(float)); }

TEST(Blocks, AreAboutEqualAndFitTheFirstCache) {
  const Csr dense = integer_weights(600, 1000, 0.5, 1).csr();
  const TileShape shape = panel_shape(dense, 600, 1000, 64);
  EXPECT_LE(shape.block_channels * 64 * 4, three_quarters_of_level1());
  const Index blocks = (1000 + shape.block_channels - 1) / shape.block_channels;
  EXPECT_EQ(shape.block_channels, (1000 + blocks - 1) / blocks);
}

TEST(Blocks, GrowWhereFewWeightsAreStored) {
  const Index many = panel_shape(integer_weights(64, 2000, 0.2, 1).csr(), 64, 2000, 64).block_channels;
  const Index few = panel_shape(integer_weights(64, 2000, 0.05, 1).csr(), 64, 2000, 64).block_channels;
  EXPECT_LT(many, few);
}

TEST(Blocks, OfStripsFitTheFirstCacheWhereNearlyAllWeightsAreStored) {
  std::vector<float> weights(64 * 2000, 1.0f);
  const auto block_bytes = [&] {
    return panel_shape(Bsr::from_dense(weights.data(), 64, 2000, {4, 1}), 64, 2000, 64).block_channels * 64 * 4;
  };
  EXPECT_LE(block_bytes(), three_quarters_of_level1());
  for (Index row = 4; row < 64; ++row) std::fill_n(weights.begin() + row * 2000, 2000, 0.0f);
  EXPECT_GT(block_bytes(), tuning().strip_block_floats * static_cast<Index>(sizeof(float)) / 2)
      << "strips of few blocks would add up their sums again and again";
}

TEST(Blocks, WidestTilesAreEightVectorsAndFitTheirPlaces) {
  for_each_isa([] {
    EXPECT_GE(widest_tile(kernels()), Index{8} * kernels().lanes);
    EXPECT_LE(widest_tile(kernels()), kMostTileColumns);
    EXPECT_EQ(widest_tile(kernels()) % kernels().lanes, 0);
  });
}

TEST(Blocks, BeyondOffsetsOf32BitsAreRefused) {
  check_reachable(Index{1} << 20, 2000);
  EXPECT_REFUSED(check_reachable(Index{1} << 20, 2048), "too large");
}

}  // namespace
}  // namespace sparse_engine
