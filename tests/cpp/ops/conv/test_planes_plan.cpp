#include <gtest/gtest.h>

#include "base/tuning.hpp"
#include "ops/conv/plan.hpp"
#include "reference_conv_plan.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(PlanesPlan, PlanesHoldWholeImagesWhereTheyFitTheCache) {
  expect_plan(same_size(3, 1, 6, 4, 7, 9, 40), Strategy::planes);
  expect_plan(same_size(3, 2, 6, 4, 9, 11, 34), Strategy::planes);
  expect_plan(same_size(3, 1, 6, 3, 3, 64, 33), Strategy::planes);  // written row by row
}

TEST(PlanesPlan, BandsTakeSomeRowsAtATimeOtherwise) {
  const Tuning before = tuning();
  set_tuning(tuned_for({.level2 = 16 << 10, .level3 = 4 << 20}));
  expect_plan(same_size(3, 1, 1, 8, 40, 24, 40), Strategy::banded);
  expect_plan(same_size(3, 1, 2, 8, 20, 48, 70), Strategy::banded);
  set_tuning(before);
}

// With vectors as wide as a cache line only; others compute the same without copies.
TEST(PlanesPlan, TapsAreCopiedBlockByBlockWhereManyRowsUseThem) {
  const Tuning before = tuning();
  Tuning small = before;
  small.copied_uses = 1;
  for (const Index floats : {1600, 6000}) {  // blocks of one channel, and of three; 25 taps fit only the second
    small.block_floats = floats;
    set_tuning(small);
    expect_plan(same_size(3, 1, 2, 5, 7, 9, 40), Strategy::planes);
    expect_plan(same_size(3, 2, 6, 5, 9, 23, 34), Strategy::planes);
    expect_plan(same_size(5, 1, 1, 3, 7, 14, 33), Strategy::planes);
    expect_plan(same_size(3, 1, 6, 3, 3, 144, 33), Strategy::planes);  // written row by row
    ConvCase dilated = same_size(3, 1, 1, 4, 11, 12, 65);
    dilated.shape.dilation_h = dilated.shape.dilation_w = 2;
    expect_plan(dilated, Strategy::planes);
  }
  set_tuning(before);
}

// Sums of single weights in the order of columns, however they are cut.
TEST(PlanesPlan, CopiesDoNotChangeBits) {
  const ConvCase c = same_size(3, 1, 1, 24, 14, 14, 64);
  const Weights w = real_weights(c.filters, c.cols(), 0.3, 90);
  const std::vector<float> x = reals(c.inputs(), 91), bias = reals(c.filters, 92);
  const Tuning before = tuning();
  Tuning without = before;
  without.copied_from = 2;
  for_each_isa([&] {
    const std::vector<float> copied = convolved(c, w.csr(), x, bias, Activation::silu);
    set_tuning(without);
    expect_same_bits(convolved(c, w.csr(), x, bias, Activation::silu), copied);
    set_tuning(before);
  });
}

}  // namespace
}  // namespace sparse_engine
