#include "ops/spmm/blocks.hpp"

#include <gtest/gtest.h>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Blocks, AreAboutEqualAndFitTheFirstCache) {
  const Csr dense = integer_weights(600, 1000, 0.5, 1).csr();
  const TileShape shape = panel_shape(dense, 600, 1000, 64);
  EXPECT_LE(shape.block_channels * 64 * 4, 24 << 10);
  const Index blocks = (1000 + shape.block_channels - 1) / shape.block_channels;
  EXPECT_EQ(shape.block_channels, (1000 + blocks - 1) / blocks);
}

TEST(Blocks, GrowWhereFewWeightsAreStored) {
  const Index many = panel_shape(integer_weights(64, 2000, 0.2, 1).csr(), 64, 2000, 64).block_channels;
  const Index few = panel_shape(integer_weights(64, 2000, 0.05, 1).csr(), 64, 2000, 64).block_channels;
  EXPECT_LT(many, few);
}

TEST(Blocks, BeyondOffsetsOf32BitsAreRefused) {
  check_reachable(Index{1} << 20, 2000);
  EXPECT_REFUSED(check_reachable(Index{1} << 20, 2048), "too large");
}

}  // namespace
}  // namespace sparse_engine
