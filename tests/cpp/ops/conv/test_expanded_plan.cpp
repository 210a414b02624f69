#include <gtest/gtest.h>

#include "base/tuning.hpp"
#include "ops/conv/plan.hpp"
#include "reference_conv_plan.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

struct Block {
  Index batch, channels, height, width, expanded, kernel, stride;
};

// One after the other, each by a plan of its own.
void expect_block(const Block& b, double density) {
  const ConvCase wide = same_size(1, 1, b.batch, b.channels, b.height, b.width, b.expanded);
  ConvCase deep = same_size(b.kernel, b.stride, b.batch, b.expanded, b.height, b.width, b.expanded);
  deep.shape.groups = b.expanded;
  SCOPED_TRACE(deep.text());
  const Csr expand = real_weights(b.expanded, b.channels, density, 93).csr();
  const Csr filter = real_weights(b.expanded, deep.cols(), 1.0, 94).csr();
  const std::vector<float> x = reals(wide.inputs(), 95), bias = reals(b.expanded, 96), second = reals(b.expanded, 97);
  const Epilogue first{.bias = bias.data(), .activation = Activation::silu};
  const Epilogue last{.bias = second.data(), .activation = Activation::relu6};
  for_each_isa([&] {
    std::vector<float> between(wide.outputs()), expected(deep.outputs());
    conv2d(input_images(wide, x.data()), expand, wide.shape, first, output_images(wide, between.data()));
    conv2d(input_images(deep, between.data()), filter, deep.shape, last, output_images(deep, expected.data()));
    for (const int threads : {1, 2, 3}) {
      const auto plan = plan_expanded(kernels(), {expand, first}, filter, input_images(wide, nullptr), deep.shape,
                                      output_images(deep, nullptr), threads);
      EXPECT_EQ(plan->strategy(), Strategy::expanded);
      expect_same_bits(checked_run(*plan, {x.data(), nullptr, last}, deep.outputs()), expected);
    }
  });
}

TEST(ExpandedPlan, GivesTheBitsOfBothOneAfterTheOther) {
  for (const Index stride : {1, 2}) {
    expect_block({1, 8, 14, 14, 48, 3, stride}, 0.3);
    expect_block({2, 24, 7, 7, 50, 5, stride}, 0.2);
    expect_block({1, 3, 33, 20, 5, 7, stride}, 1.0);
    expect_block({3, 5, 1, 1, 17, 3, stride}, 0.5);
    expect_block({1, 200, 5, 9, 20, 3, stride}, 0.1);  // several blocks of X
  }
}

TEST(ExpandedPlan, GivesThemBandByBand) {
  const Tuning before = tuning();
  Tuning small = before;
  for (const Index bytes : {1, 4, 16, 64}) {
    small.band_bytes = bytes << 10;
    set_tuning(small);
    for (const Index stride : {1, 2}) {
      expect_block({1, 8, 40, 24, 40, 3, stride}, 0.3);
      expect_block({2, 4, 30, 17, 20, 5, stride}, 0.5);
      expect_block({1, 4, 9, 9, 20, 7, stride}, 0.5);
    }
  }
  set_tuning(before);
}

}  // namespace
}  // namespace sparse_engine
