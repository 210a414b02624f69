// What is not finite reaches the outputs whose stored weights touch it, and no others.
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "reference_conv.hpp"
#include "sparse_engine/conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// Channels that no stored weight touches, channel 0 among them, hold Inf and NaN.
TEST(ConvNonFinite, LeavesTheOutputCleanWhereNoWeightTouchesAnInput) {
  for (const Index stride : {1, 2, 3})
    for (const Index kernel : {1, 3})
      for (const Index groups : {1, 2}) {
        const ConvCase c{{.kernel_h = kernel,
                          .kernel_w = kernel,
                          .stride_h = stride,
                          .stride_w = stride,
                          .pad_top = kernel / 2,
                          .pad_left = kernel / 2,
                          .pad_bottom = kernel / 2,
                          .pad_right = kernel / 2,
                          .groups = groups},
                         2,
                         12,
                         11,
                         13,
                         6};
        SCOPED_TRACE(c.text());
        Weights w = integer_weights(6, c.cols(), 0.5, 9);
        const Index taps = kernel * kernel;
        for (Index row = 0; row < 6; ++row)
          for (Index col = 0; col < w.cols; ++col)
            if (col / taps % 3 == 0) w.values[row * w.cols + col] = 0;
        std::vector<float> x = integers(c.inputs(), 10);
        const Expected expected = convolution(c, w, x);
        const Index plane = c.height * c.width;
        for (Index i = 0; i < c.inputs(); ++i)
          if (i / plane % (12 / groups) % 3 == 0) x[i] = i % 2 == 0 ? kInf : kNaN;
        for_each_isa([&] { expect_exactly(convolved(c, w.csr(), x), expected); });
      }
}

struct Kernel {
  Index h, w, dilation;
};
const std::vector<Kernel> kKernels = {{3, 2, 1}, {2, 3, 2}, {1, 1, 1}};

TEST(ConvNonFinite, PassesInfinityAndNaNToExactlyTheOutputsTheirWeightsTouch) {
  Random random(11);
  for (const Kernel& kernel : kKernels)
    for (const Index stride : {1, 2, 3})
      for (const Index pad : {0, 1}) {
        const ConvCase c{{.kernel_h = kernel.h,
                          .kernel_w = kernel.w,
                          .stride_h = stride,
                          .stride_w = stride,
                          .pad_top = pad * (kernel.h - 1),
                          .pad_left = pad * (kernel.w - 1),
                          .pad_right = pad * (kernel.w - 1),
                          .dilation_h = kernel.dilation,
                          .dilation_w = kernel.dilation},
                         3,
                         6,
                         10,
                         17,
                         12};
        SCOPED_TRACE(c.text());
        const Weights w = real_weights(12, c.cols(), 0.2, 12);
        std::vector<float> x = reals(c.inputs(), 13);
        for (float& v : x)
          if (random.one_in(0.01)) v = random.pick(std::vector<float>{kInf, -kInf, kNaN});
        for (const Activation activation : kActivations) {
          const Expected expected = convolution(c, w, x, {}, activation);
          for_each_isa([&] { expect_within_bound(convolved(c, w.csr(), x, {}, activation), expected); });
        }
      }
}

TEST(ConvNonFinite, IsNotStainedByAnEarlierCallFullOfNaN) {
  const ConvCase large{{.kernel_h = 3, .kernel_w = 3}, 2, 40, 30, 30, 20};
  const Csr stain = real_weights(20, large.cols(), 0.3, 14).csr();
  const std::vector<float> poison(large.inputs(), kNaN);
  for (const Kernel& kernel : kKernels)
    for (const Index stride : {1, 2, 3})
      for (const Index size : {3, 6, 15}) {
        const Index reach_h = (kernel.h - 1) * kernel.dilation, reach_w = (kernel.w - 1) * kernel.dilation;
        const ConvCase c{{.kernel_h = kernel.h,
                          .kernel_w = kernel.w,
                          .stride_h = stride,
                          .stride_w = stride,
                          .pad_top = reach_h,
                          .pad_left = reach_w / 2,
                          .pad_right = reach_w,
                          .dilation_h = kernel.dilation,
                          .dilation_w = kernel.dilation},
                         2,
                         5,
                         size,
                         size,
                         7};
        SCOPED_TRACE(c.text());
        const Weights w = integer_weights(7, c.cols(), 0.5, 15);
        const std::vector<float> x = integers(c.inputs(), 16);
        const Expected expected = convolution(c, w, x);
        for_each_isa([&] {
          convolved(large, stain, poison);
          expect_exactly(convolved(c, w.csr(), x), expected);
        });
      }
}

}  // namespace
}  // namespace sparse_engine
