#include <gtest/gtest.h>

#include "ops/conv/plan.hpp"
#include "reference_conv_plan.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

ConvCase depthwise(Index kernel, Index stride, Index batch, Index channels, Index height, Index width) {
  ConvCase c = same_size(kernel, stride, batch, channels, height, width, channels);
  c.shape.groups = channels;
  return c;
}

TEST(DepthwisePlan, TakesSomeChannelsAtATime) {  // with taps missing, they are packed
  expect_plan(depthwise(3, 1, 2, 19, 6, 9), Strategy::depthwise);
  expect_plan(depthwise(3, 2, 2, 19, 6, 9), Strategy::depthwise);
  expect_plan(depthwise(4, 3, 1, 5, 20, 9), Strategy::depthwise);
}

TEST(DepthwisePlan, ReadsWholeFiltersWhereTheyLie) {
  for (const ConvCase& c : {depthwise(3, 1, 2, 19, 6, 9), depthwise(3, 2, 1, 40, 17, 33), depthwise(5, 1, 3, 3, 9, 70),
                            depthwise(5, 2, 1, 16, 14, 14), depthwise(7, 1, 1, 17, 20, 7), depthwise(7, 2, 2, 2, 5, 3)}) {
    SCOPED_TRACE(c.text());
    const Weights w = integer_weights(c.filters, c.cols(), 1.0, 87);
    const std::vector<float> x = integers(c.inputs(), 88), bias = integers(c.filters, 89);
    const Expected expected = convolution(c, w, x, bias, Activation::relu);
    const Csr csr = w.csr();
    for_each_isa([&] {
      for (const int threads : {1, 2, 3}) {
        const auto plan =
            plan_conv2d(kernels(), csr, input_images(c, nullptr), c.shape, output_images(c, nullptr), false, threads);
        EXPECT_EQ(plan->strategy(), Strategy::depthwise);
        EXPECT_EQ(plan->workspace_bytes(), 0);
        const Epilogue epilogue{.bias = bias.data(), .activation = Activation::relu};
        expect_exactly(checked_run(*plan, {x.data(), nullptr, epilogue}, c.outputs()), expected);
      }
    });
  }
}

TEST(DepthwisePlan, PacksWhereAResidualOrChannelsLastComes) {
  const ConvCase c = depthwise(3, 1, 2, 19, 6, 9);
  const Weights w = integer_weights(c.filters, c.cols(), 1.0, 90);
  const std::vector<float> x = integers(c.inputs(), 91), r = integers(c.outputs(), 92);
  Expected expected = convolution(c, w, x);
  for (std::size_t i = 0; i < r.size(); ++i) expected.values[i] += r[i];
  std::vector<float> last(x.size());
  for (Index n = 0; n < 2; ++n)
    for (Index channel = 0; channel < 19; ++channel)
      for (Index i = 0; i < 54; ++i) last[(n * 54 + i) * 19 + channel] = x[(n * 19 + channel) * 54 + i];
  const Csr csr = w.csr();
  for_each_isa([&] {
    for (const bool is_last : {false, true}) {
      const ConstImages in = is_last ? ConstImages{nullptr, 2, 19, 6, 9, 19 * 54, 1, 9 * 19, 19} : input_images(c, nullptr);
      const auto plan = plan_conv2d(kernels(), csr, in, c.shape, output_images(c, nullptr), true, 2);
      EXPECT_GT(plan->workspace_bytes(), 0);
      const Operands operands{is_last ? last.data() : x.data(), nullptr, {.residual = r.data()}};
      expect_exactly(checked_run(*plan, operands, c.outputs()), expected);
    }
  });
}

}  // namespace
}  // namespace sparse_engine
