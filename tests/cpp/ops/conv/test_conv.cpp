#include <gtest/gtest.h>

#include <span>
#include <utility>
#include <vector>

#include "reference_conv.hpp"
#include "sparse_engine/conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Conv, LiesWithinTheBoundForEveryKernelStridePaddingDilationAndGrouping) {
  struct Pair {
    Index h, w;
  };
  // Padding as shares of what the kernel reaches over: none, half, all, and two asymmetric ones.
  struct Padding {
    int top, left, bottom, right;  // in halves of (kernel − 1) · dilation
  };
  const std::vector<Padding> paddings = {{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 2, 2, 2}, {0, 2, 2, 0}, {2, 1, 0, 2}};
  std::uint64_t seed = 0;
  Random random(1);
  int cases = 0;
  for (const Pair kernel : {Pair{1, 1}, Pair{2, 2}, Pair{3, 3}, Pair{1, 5}, Pair{3, 1}, Pair{3, 4}})
    for (const Index stride_h : {1, 2, 3})
      for (const Index stride_w : {1, 2, 3})
        for (const Pair dilation : {Pair{1, 1}, Pair{2, 2}, Pair{1, 3}, Pair{3, 1}})
          for (const Padding& pad : paddings)
            for (const Index groups : {1, 2, 4}) {
              const Index reach_h = (kernel.h - 1) * dilation.h, reach_w = (kernel.w - 1) * dilation.w;
              ConvCase c{{.kernel_h = kernel.h,
                          .kernel_w = kernel.w,
                          .stride_h = stride_h,
                          .stride_w = stride_w,
                          .pad_top = reach_h * pad.top / 2,
                          .pad_left = reach_w * pad.left / 2,
                          .pad_bottom = reach_h * pad.bottom / 2,
                          .pad_right = reach_w * pad.right / 2,
                          .dilation_h = dilation.h,
                          .dilation_w = dilation.w,
                          .groups = groups},
                         random.between(1, 3),
                         4,
                         9,
                         13,
                         8};
              ++seed;
              if (kSlow && !random.one_in(0.1)) continue;
              expect_case_within_bound(c, 0.4, seed);
              if (HasFatalFailure()) return;
              ++cases;
            }
  EXPECT_GT(cases, 200);
}

TEST(Conv, LiesWithinTheBoundForEveryWidthOfAnImage) {
  std::uint64_t seed = 0;
  for (const Index width : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129})
    for (const Index height : {1, 2, 5})
      for (const Index kernel : {1, 3})
        for (const Index stride : {1, 2}) {
          const ConvCase c{{.kernel_h = kernel,
                            .kernel_w = kernel,
                            .stride_h = stride,
                            .stride_w = stride,
                            .pad_top = kernel / 2,
                            .pad_left = kernel / 2,
                            .pad_bottom = kernel / 2,
                            .pad_right = kernel / 2},
                           2,
                           3,
                           height,
                           width,
                           5};
          expect_case_within_bound(c, 0.5, seed++);
        }
}

TEST(Conv, LiesWithinTheBoundForEveryNumberOfChannelsAndDensity) {
  std::uint64_t seed = 0;
  for (const Index channels : {1, 2, 3, 15, 16, 17, 33, 65, 130})
    for (const Index filters : {1, 2, 31, 33, 70})
      for (const double density : {0.0, 0.01, 0.1, 0.5, 1.0}) {
        const ConvCase c{{.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1},
                         1,
                         channels,
                         7,
                         6,
                         filters};
        if (kSlow && seed % 4 != 0 && channels * filters > 500) {
          ++seed;
          continue;
        }
        expect_case_within_bound(c, density, seed++);
      }
}

TEST(Conv, LiesWithinTheBoundWhenThereIsOnePosition) {
  for (const Index size : {1, 3, 7}) {
    const ConvCase c{{.kernel_h = size, .kernel_w = size}, 3, 9, size, size, 34};
    expect_case_within_bound(c, 0.3, size);
  }
}

TEST(Conv, LiesWithinTheBoundForPointwiseKernelsOverManyImages) {
  struct Size {
    Index height, width;
  };
  std::uint64_t seed = 0;
  for (const Index batch : {1, 2, 5})
    for (const Size& size : {Size{1, 1}, Size{2, 3}, Size{7, 7}, Size{8, 8}, Size{9, 15}, Size{1, 130}})
      for (const Index channels : {1, 16, 127, 129, 258})
        for (const Index stride : {1, 2})
          for (const Index groups : {1, 2, 3}) {
            if (channels % groups != 0) continue;
            const ConvCase c{{.kernel_h = 1, .kernel_w = 1, .stride_h = stride, .stride_w = stride, .groups = groups},
                             batch,
                             channels,
                             size.height,
                             size.width,
                             6 * groups};
            expect_case_within_bound(c, 0.3, seed++);
          }
}

// Images whose rows spread over the cache and are used by few weights are read where they lie, those from memory by fewer.
TEST(Conv, LiesWithinTheBoundForPointwiseKernelsOnImagesReadInPlace) {
  std::uint64_t seed = 0;
  for (const Index batch : {1, 3})
    for (const Index size : {4, 12, 20, 28})
      for (const Index groups : {1, 3})
        for (const double density : {0.02, 0.3}) {
          const ConvCase c{{.kernel_h = 1, .kernel_w = 1, .groups = groups}, batch, 150, size, size, 30};
          expect_case_within_bound(c, density, seed++);
        }
  const ConvCase large{{.kernel_h = 1, .kernel_w = 1}, 5, 80, 56, 56, 6};
  expect_case_within_bound(large, 0.05, 1);
}

// A plane per row of W, and rows that fill tiles of planes or do not.
TEST(Conv, LiesWithinTheBoundForDepthwiseKernels) {
  std::uint64_t seed = 0;
  for (const Index channels : {1, 5, 16, 17, 40})
    for (const Index width : {1, 6, 14, 33, 70})
      for (const Index stride : {1, 2})
        for (const Index kernel : {2, 3, 5}) {
          const ConvCase c{{.kernel_h = kernel,
                            .kernel_w = kernel,
                            .stride_h = stride,
                            .stride_w = stride,
                            .pad_top = kernel / 2,
                            .pad_left = kernel / 2,
                            .pad_bottom = kernel - 1,
                            .pad_right = kernel / 2,
                            .groups = channels},
                           2,
                           channels,
                           9,
                           width,
                           channels};
          expect_case_within_bound(c, seed % 3 == 0 ? 1.0 : 0.5, seed);
          ++seed;
        }
}

TEST(Conv, LiesWithinTheBoundForMoreImagesThanFitACache) {
  const ConvCase many{
      {.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}, 9, 32, 90, 90, 3};
  expect_case_within_bound(many, 0.03, 1);
  const ConvCase large{{.kernel_h = 2, .kernel_w = 1}, 2, 8, 520, 520, 2};  // one image alone does not
  expect_case_within_bound(large, 0.5, 2);
  const ConvCase many_pointwise{{.kernel_h = 1, .kernel_w = 1}, 9, 32, 91, 91, 3};
  expect_case_within_bound(many_pointwise, 0.3, 3);
  const ConvCase large_pointwise{{.kernel_h = 1, .kernel_w = 1}, 2, 8, 520, 520, 2};
  expect_case_within_bound(large_pointwise, 0.5, 4);
  const ConvCase many_filters{{.kernel_h = 1, .kernel_w = 1}, 3, 40, 32, 32, 450};  // a tile's rows are taken by their lengths
  expect_case_within_bound(many_filters, 0.4, 5);
}

// Padding wider than the kernel: whole outputs see nothing but padding.
TEST(Conv, PadsByMoreThanTheKernelReaches) {
  std::uint64_t seed = 0;
  for (const Index kernel : {1, 2, 3})
    for (const Index stride : {1, 2, 3})
      for (const Index pad : {1, 2, 3, 5})
        for (const Index size : {1, 4, 9}) {
          const ConvCase c{square(kernel, stride, pad), 2, 3, size, size + 1, 4};
          expect_case_within_bound(c, 0.6, seed++);
          ASSERT_FALSE(HasFatalFailure());
        }
}

TEST(Conv, GivesTheActivatedBiasForImagesWithoutCells) {
  for (const Index height : {0, 2})
    for (const Index width : {0, 3}) {
      const ConvCase c{
          {.kernel_h = 2, .kernel_w = 2, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}, 2, 3, height, width, 4};
      expect_case_within_bound(c, 0.8, 1);
    }
}

TEST(Conv, GivesTheActivatedBiasWhereThereAreNoChannels) {
  const ConvCase c{{.kernel_h = 3, .kernel_w = 3}, 2, 0, 5, 6, 4};
  for (const std::uint64_t seed : {0, 1, 2}) expect_case_within_bound(c, 1, seed);
}

TEST(Conv, HasNothingToDoWithoutFiltersOrImages) {
  for (const auto& [batch, filters] : {std::pair<Index, Index>{0, 4}, {2, 0}, {0, 0}}) {
    const ConvCase c{{.kernel_h = 3, .kernel_w = 3}, batch, 2, 5, 6, filters};
    const Csr w = real_weights(filters, c.cols(), 0.5, 1).csr();
    EXPECT_EQ(convolved(c, w, reals(c.inputs(), 2)).size(), 0u);
  }
}

TEST(Conv, ComputesIntegersExactlyOnEveryInstructionSetAndNumberOfThreads) {
  const Conv2dParams same{.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  Conv2dParams strided = same, grouped = same, depthwise = same;
  strided.stride_h = strided.stride_w = 2;
  grouped.groups = 4;
  depthwise.groups = 40;
  const Conv2dParams pointwise{.kernel_h = 1, .kernel_w = 1};
  // All but the first are large enough to be shared among threads.
  for (const ConvCase& c :
       {ConvCase{same, 1, 5, 6, 7, 9}, ConvCase{same, 1, 16, 28, 28, 40}, ConvCase{strided, 3, 24, 29, 31, 33},
        ConvCase{grouped, 3, 32, 17, 18, 64}, ConvCase{depthwise, 3, 40, 31, 33, 40}, ConvCase{pointwise, 3, 130, 13, 13, 50},
        ConvCase{pointwise, 3, 130, 28, 28, 50}}) {
    SCOPED_TRACE(c.text());
    const Weights w = integer_weights(c.filters, c.cols(), 0.3, 3);
    const std::vector<float> x = integers(c.inputs(), 4), bias = integers(c.filters, 5);
    for (const Activation activation : kExactActivations) {
      const Expected expected = convolution(c, w, x, bias, activation);
      for_each_isa([&] {
        for (const int threads : {1, 2, 3, 8}) {
          SCOPED_TRACE(threads);
          const Threads used(threads);
          expect_exactly(convolved(c, w.csr(), x, bias, activation), expected);
        }
      });
      if (kSlow) break;
    }
  }
}

TEST(Conv, GivesTheSameBitsForAnyNumberOfThreadsOnRepetitionAndWhereverInABatchAnImageStands) {
  const Conv2dParams strided{.kernel_h = 3, .kernel_w = 3, .stride_h = 2, .pad_top = 1, .pad_left = 1, .pad_right = 1};
  for (const Conv2dParams& shape : {strided, Conv2dParams{.kernel_h = 1, .kernel_w = 1}}) {
    const ConvCase one{shape, 1, 24, 27, 26, 50}, five{shape, 5, 24, 27, 26, 50};
    const Csr w = real_weights(50, one.cols(), 0.3, 6).csr();
    const std::vector<float> image = reals(one.inputs(), 7), bias = reals(50, 8);
    std::vector<float> batch;
    for (int i = 0; i < 5; ++i) batch.insert(batch.end(), image.begin(), image.end());
    for_each_isa([&] {
      std::vector<float> serial;
      for (const int threads : {1, 1, 2, 3, 8}) {
        SCOPED_TRACE(threads);
        const Threads used(threads);
        const std::vector<float> single = convolved(one, w, image, bias, Activation::relu);
        if (serial.empty()) serial = single;
        expect_same_bits(single, serial);
        const std::vector<float> y = convolved(five, w, batch, bias, Activation::relu);
        for (std::size_t i = 0; i < 5; ++i) expect_same_bits(std::span(y).subspan(i * serial.size(), serial.size()), serial);
      }
    });
  }
}

}  // namespace
}  // namespace sparse_engine
