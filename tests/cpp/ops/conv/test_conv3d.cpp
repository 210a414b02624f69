#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "reference_conv3d.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

constexpr Index kMax = std::numeric_limits<Index>::max();

TEST(Conv3d, LiesWithinTheBoundForEveryKernelStridePaddingDilationAndGrouping) {
  std::uint64_t seed = 0;
  Random random(1);
  int cases = 0;
  for (const Index kernel_d : {1, 2, 3})
    for (const ConvCase& slice :
         {same_size(1, 1, 2, 4, 5, 7, 8), same_size(3, 1, 2, 4, 5, 7, 8), same_size(3, 2, 3, 4, 9, 6, 8),
          same_size(1, 2, 1, 4, 5, 6, 8), ConvCase{{.kernel_h = 2, .kernel_w = 3, .pad_left = 1}, 1, 4, 4, 70, 8},
          ConvCase{{.kernel_h = 1, .kernel_w = 1, .pad_top = 1}, 2, 4, 3, 4, 8}})
      for (const Index stride_d : {1, 2})
        for (const Index pad : {0, 1, 3})
          for (const Index dilation_d : {1, 2})
            for (const Index groups : {1, 2, 4}) {
              Conv3dCase c{slice, 6, kernel_d, stride_d, pad, pad / 2, dilation_d};
              c.slice.shape.groups = groups;
              ++seed;
              if (kSlow && !random.one_in(0.1)) continue;
              SCOPED_TRACE(c.text());
              const Weights w = real_weights(c.slice.filters, c.cols(), 0.4, seed);
              const std::vector<float> x = reals(c.inputs(), seed + 1);
              const Activation activation = random.pick(kActivations);
              const std::vector<float> bias = random.one_in(0.3) ? std::vector<float>{} : reals(c.slice.filters, seed + 2);
              const Expected expected = convolution(c, w, x, bias, activation);
              for_each_isa([&] { expect_within_bound(convolved(c, w.csr(), x, bias, activation), expected); });
              if (HasFatalFailure()) return;
              ++cases;
            }
  EXPECT_GT(cases, 20);
}

TEST(Conv3d, ComputesIntegersExactlyOnEveryInstructionSetAndNumberOfThreads) {
  ConvCase grouped = same_size(3, 1, 3, 32, 9, 10, 64), depthwise = same_size(3, 1, 2, 24, 13, 14, 24);
  grouped.shape.groups = 4;
  depthwise.shape.groups = 24;
  for (const Conv3dCase& c :
       {Conv3dCase{same_size(3, 1, 1, 16, 14, 14, 40), 5, 3, 1, 1, 1},
        Conv3dCase{same_size(3, 2, 3, 12, 15, 17, 33), 7, 3, 2, 1, 1}, Conv3dCase{grouped, 4, 3, 1, 1, 1},
        Conv3dCase{depthwise, 4, 3, 1, 1, 1}, Conv3dCase{same_size(1, 1, 2, 48, 14, 14, 50), 8, 3, 1, 1, 1},
        Conv3dCase{same_size(1, 1, 2, 48, 14, 14, 50), 8, 1}, Conv3dCase{same_size(3, 1, 2, 16, 14, 64, 40), 3, 1},
        Conv3dCase{same_size(1, 2, 5, 48, 14, 14, 50), 8, 1, 2}}) {
    SCOPED_TRACE(c.text());
    const Weights w = integer_weights(c.slice.filters, c.cols(), 0.2, 3);
    const std::vector<float> x = integers(c.inputs(), 4), bias = integers(c.slice.filters, 5);
    const Expected expected = convolution(c, w, x, bias, Activation::relu);
    for_each_isa([&] {
      for (const int threads : {1, 2, 3, 8}) {
        const Threads used(threads);
        expect_exactly(convolved(c, w.csr(), x, bias, Activation::relu), expected);
      }
    });
  }
}

TEST(Conv3d, ReadsAndWritesChannelsLastAndPartsOfVolumes) {
  for (const Conv3dCase& c :
       {Conv3dCase{same_size(3, 1, 2, 5, 6, 7, 9), 4, 3, 1, 1, 1}, Conv3dCase{same_size(1, 1, 2, 5, 6, 7, 9), 4, 3, 2, 1, 0}}) {
    SCOPED_TRACE(c.text());
    const Weights w = integer_weights(9, c.cols(), 0.5, 1);
    const std::vector<float> x = integers(c.inputs(), 2);
    const Expected expected = convolution(c, w, x);
    // Channels innermost, and a row, a slice and a channel longer than what is read; what lies between is no number.
    const auto strided = [](auto v, Index by) {
      v.stride_c = 1;
      v.stride_w = v.channels + by;
      v.stride_h = (v.width + by) * v.stride_w;
      v.stride_d = (v.height + by) * v.stride_h;
      v.stride_n = (v.depth + by) * v.stride_d;
      return v;
    };
    const auto visit = [](const auto& v, const auto& element) {
      Index at = 0;
      for (Index n = 0; n < v.batch; ++n)
        for (Index k = 0; k < v.channels; ++k)
          for (Index d = 0; d < v.depth; ++d)
            for (Index h = 0; h < v.height; ++h)
              for (Index i = 0; i < v.width; ++i)
                element(at++, n * v.stride_n + k * v.stride_c + d * v.stride_d + h * v.stride_h + i * v.stride_w);
    };
    for_each_isa([&] {
      for (const Index by : {0, 2}) {
        ConstVolumes from = strided(input_volumes(c, nullptr), by);
        Volumes to = strided(output_volumes(c, nullptr), by);
        std::vector<float> source(from.batch * from.stride_n, kNaN), target(to.batch * to.stride_n, 12345), y(c.outputs());
        visit(from, [&](Index at, Index place) { source[place] = x[at]; });
        from.data = source.data();
        to.data = target.data();
        conv3d(from, w.csr(), c.shape(), {}, to);
        visit(to, [&](Index at, Index place) { y[at] = std::exchange(target[place], 12345.0f); });
        expect_exactly(y, expected);
        for (const float v : target) ASSERT_EQ(v, 12345) << "written beside the result";
      }
    });
  }
}

TEST(Conv3d, GivesTheActivatedBiasWhereThereIsNothingToRead) {
  const Conv3dCase no_depth{same_size(3, 1, 2, 3, 4, 5, 4), 0, 2, 1, 1, 1};
  const Conv3dCase no_channels{same_size(3, 1, 2, 0, 4, 5, 4), 3, 2, 1, 1, 1};
  for (const Conv3dCase& c : {no_depth, no_channels}) {
    SCOPED_TRACE(c.text());
    const Weights w = integer_weights(4, c.cols(), 0.5, 1);
    const std::vector<float> x = integers(c.inputs(), 2), bias = integers(4, 3);
    for_each_isa([&] { expect_exactly(convolved(c, w.csr(), x, bias), convolution(c, w, x, bias)); });
  }
  for (const Conv3dCase& c :
       {Conv3dCase{same_size(3, 1, 0, 3, 4, 5, 4), 3, 1}, Conv3dCase{same_size(3, 1, 2, 3, 4, 5, 0), 3, 1}})
    EXPECT_TRUE(convolved(c, integer_weights(c.slice.filters, c.cols(), 0.5, 1).csr(), integers(c.inputs(), 2)).empty());
}

TEST(Conv3d, RefusesWhatDoesNotFit) {
  const auto refusal_of = [](auto change) {
    const Csr w = integer_weights(6, 4 * 2 * 9, 0.5, 1).csr();
    std::vector<float> in(2 * 4 * 3 * 30), out(2 * 6 * 2 * 12);
    Conv3dParams shape{.kernel_d = 2, .plane = {.kernel_h = 3, .kernel_w = 3}};
    ConstVolumes x{in.data(), 2, 4, 3, 5, 6, 360, 90, 30, 6, 1};
    Volumes y{out.data(), 2, 6, 2, 3, 4, 144, 24, 12, 4, 1};
    change(shape, x, y);
    return refusal([&] { conv3d(x, w, shape, {}, y); });
  };
  EXPECT_EQ(refusal_of([](auto&, auto&, auto&) {}), "(accepted)");
  const auto named = [&](auto change, const std::string& words) {
    const std::string said = refusal_of(change);
    EXPECT_TRUE(mentions(said, words)) << said;
  };
  named([](auto& s, auto&, auto&) { s.kernel_d = 0; }, "kernel depth = 0; it must be at least 1");
  named([](auto& s, auto&, auto&) { s.stride_d = -1; }, "stride depth = -1");
  named([](auto& s, auto&, auto&) { s.dilation_d = 0; }, "dilation depth = 0");
  named([](auto& s, auto&, auto&) { s.pad_back = -2; }, "padding depth = -2");
  named([](auto& s, auto&, auto&) { s.pad_front = kMax; }, "padded input");
  named([](auto&, auto& x, auto&) { x.depth = 1; }, "reaches over 2 cells in depth");
  named([](auto& s, auto&, auto&) { s.kernel_d = 3; }, "W has 72 columns; 4 / 1 input channels and a kernel of 3 × 3 × 3");
  named([](auto& s, auto&, auto&) { s.plane.groups = 0; }, "groups = 0; it must be at least 1");
  named([](auto& s, auto&, auto&) { s.plane.groups = 3; }, "groups = 3 does not divide the 4 input channels");
  named([](auto& s, auto&, auto&) { s.plane.groups = 4; }, "groups = 4 does not divide the 6 output channels");
  named([](auto&, auto& x, auto&) { x.batch = -1; }, "x has a batch of -1");
  named([](auto&, auto&, auto& y) { y.depth = 3; }, "y has shape (2, 6, 3, 3, 4); the convolution needs (2, 6, 2, 3, 4)");
}

TEST(Conv3d, RefusesKernelsOfTooManyCells) {
  const Csr w = integer_weights(1, 2 * 40000, 0.001, 1).csr();
  std::vector<float> in(2 * 40000), out(1);
  const ConstVolumes x{in.data(), 1, 1, 2, 200, 200, 80000, 80000, 40000, 200, 1};
  const Volumes y{out.data(), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  EXPECT_TRUE(mentions(refusal([&] { conv3d(x, w, {.kernel_d = 2, .plane = {.kernel_h = 200, .kernel_w = 200}}, {}, y); }),
                       "a kernel of 2 × 200 × 200 has more than 65536 cells"));
}

}  // namespace
}  // namespace sparse_engine
