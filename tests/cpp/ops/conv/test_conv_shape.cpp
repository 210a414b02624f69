// Shapes of convolutions: output sizes, and which arguments are refused.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "reference_conv.hpp"
#include "sparse_engine/conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

constexpr Index kMax = std::numeric_limits<Index>::max();
constexpr Index kMin = std::numeric_limits<Index>::min();

// Places at which a kernel fits, counted one by one.
Index places(Index size, Index kernel, Index stride, Index before, Index after, Index dilation) {
  Index count = 0;
  for (Index first = -before; first + (kernel - 1) * dilation < size + after; first += stride) ++count;
  return count;
}

TEST(ConvShape, HasAnOutputForEveryPlaceAtWhichTheKernelFits) {
  int checked = 0;
  for (const Index size : {0, 1, 2, 5, 8, 9})
    for (const Index kernel : {1, 2, 3, 5})
      for (const Index stride : {1, 2, 3})
        for (const Index before : {0, 1, 2})
          for (const Index after : {0, 1, 4})
            for (const Index dilation : {1, 2, 3}) {
              const Index count = places(size, kernel, stride, before, after, dilation);
              if (count == 0) continue;
              const Conv2dParams tall{.kernel_h = kernel,
                                      .kernel_w = 1,
                                      .stride_h = stride,
                                      .pad_top = before,
                                      .pad_bottom = after,
                                      .dilation_h = dilation};
              const Conv2dParams wide{.kernel_h = 1,
                                      .kernel_w = kernel,
                                      .stride_w = stride,
                                      .pad_left = before,
                                      .pad_right = after,
                                      .dilation_w = dilation};
              EXPECT_EQ(conv2d_output_size(tall, size, 7).height, count);
              EXPECT_EQ(conv2d_output_size(tall, size, 7).width, 7);
              EXPECT_EQ(conv2d_output_size(wide, 7, size).width, count);
              EXPECT_EQ(conv2d_output_size(wide, 7, size).height, 7);
              ++checked;
            }
  EXPECT_GT(checked, 1000);
}

TEST(ConvShape, RefusesGeometryThatMakesNoSense) {
  const Conv2dParams good{.kernel_h = 3, .kernel_w = 3};
  const auto refusal_of = [&](auto change, Index height = 5, Index width = 5) {
    Conv2dParams shape = good;
    change(shape);
    return refusal([&] { conv2d_output_size(shape, height, width); });
  };
  for (const Index bad : {Index{0}, Index{-1}, kMin}) {
    const std::string value = " = " + std::to_string(bad) + "; it must be at least 1";
    EXPECT_EQ(refusal_of([&](Conv2dParams& s) { s.kernel_h = bad; }), "kernel height" + value);
    EXPECT_EQ(refusal_of([&](Conv2dParams& s) { s.kernel_w = bad; }), "kernel width" + value);
    EXPECT_EQ(refusal_of([&](Conv2dParams& s) { s.stride_h = bad; }), "stride height" + value);
    EXPECT_EQ(refusal_of([&](Conv2dParams& s) { s.stride_w = bad; }), "stride width" + value);
    EXPECT_EQ(refusal_of([&](Conv2dParams& s) { s.dilation_h = bad; }), "dilation height" + value);
    EXPECT_EQ(refusal_of([&](Conv2dParams& s) { s.dilation_w = bad; }), "dilation width" + value);
  }
  for (const Index bad : {Index{-1}, kMin}) {
    EXPECT_TRUE(mentions(refusal_of([&](Conv2dParams& s) { s.pad_top = bad; }), "padding height = "));
    EXPECT_TRUE(mentions(refusal_of([&](Conv2dParams& s) { s.pad_bottom = bad; }), "padding height = "));
    EXPECT_TRUE(mentions(refusal_of([&](Conv2dParams& s) { s.pad_left = bad; }), "padding width = "));
    EXPECT_TRUE(mentions(refusal_of([&](Conv2dParams& s) { s.pad_right = bad; }), "padding width = "));
    EXPECT_TRUE(mentions(refusal_of([](Conv2dParams&) {}, bad, 5), "input height = "));
    EXPECT_TRUE(mentions(refusal_of([](Conv2dParams&) {}, 5, bad), "input width = "));
  }
  EXPECT_TRUE(mentions(refusal_of([](Conv2dParams&) {}, 2, 5), "kernel reaches over 3 cells in height"));
  EXPECT_TRUE(mentions(refusal_of([](Conv2dParams&) {}, 5, 2), "kernel reaches over 3 cells in width"));
  EXPECT_TRUE(mentions(refusal_of([](Conv2dParams& s) { s.dilation_w = 3; }), "kernel reaches over 7 cells in width"));
}

TEST(ConvShape, RefusesSizesThatOverflow) {
  const Conv2dParams good{.kernel_h = 3, .kernel_w = 3};
  const auto refusal_of = [&](auto change, Index height = 5, Index width = 5) {
    Conv2dParams shape = good;
    change(shape);
    return refusal([&] { conv2d_output_size(shape, height, width); });
  };
  EXPECT_TRUE(mentions(refusal_of([](Conv2dParams& s) { s.pad_top = kMax; }), "padded input"));
  EXPECT_TRUE(mentions(refusal_of([](Conv2dParams& s) { s.pad_left = s.pad_right = kMax / 2; }), "padded input"));
  EXPECT_TRUE(mentions(refusal_of([](Conv2dParams& s) { s.dilation_h = kMax; }), "kernel"));
  EXPECT_TRUE(mentions(refusal_of([](Conv2dParams& s) { s.kernel_w = s.dilation_w = kMax; }), "kernel"));
  EXPECT_TRUE(mentions(refusal_of([](Conv2dParams& s) { s.pad_top = 1; }, kMax), "padded input"));
  EXPECT_EQ(conv2d_output_size(good, kMax, 5).height, kMax - 2);
}

class ConvRefusal : public testing::Test {
 protected:
  // Runs a convolution of 2 × 4 × 5 × 6 images with 6 filters of 3 × 3, changed by `change`, and returns what it says.
  template <class Change>
  std::string refusal_of(const Change& change) {
    const Csr w = integer_weights(6, 36, 0.5, 1).csr();
    return refusal_with(w, change);
  }
  template <class Change>
  std::string refusal_with(const Csr& w, const Change& change) {
    std::vector<float> in(240), out(144);
    Conv2dParams shape{.kernel_h = 3, .kernel_w = 3};
    ConstImages x{in.data(), 2, 4, 5, 6, 120, 30, 6, 1};
    Images y{out.data(), 2, 6, 3, 4, 72, 12, 4, 1};
    change(shape, x, y);
    return refusal([&] { conv2d(x, w, shape, {}, y); });
  }
};

TEST_F(ConvRefusal, AcceptsTheCaseThatTheOthersChange) {
  EXPECT_EQ(refusal_of([](auto&, auto&, auto&) {}), "(accepted)");
}

TEST_F(ConvRefusal, NamesGroupsThatDoNotDivide) {
  for (const Index groups : {Index{0}, Index{-1}, kMin})
    EXPECT_TRUE(mentions(refusal_of([&](auto& shape, auto&, auto&) { shape.groups = groups; }), "groups = "));
  EXPECT_TRUE(mentions(refusal_of([](auto& s, auto&, auto&) { s.groups = 3; }), "groups = 3 does not divide the 4 input"));
  EXPECT_TRUE(mentions(refusal_of([](auto& s, auto&, auto&) { s.groups = 4; }), "groups = 4 does not divide the 6 output"));
  EXPECT_TRUE(mentions(refusal_of([](auto& s, auto&, auto&) { s.groups = kMax; }), "groups = "));
}

TEST_F(ConvRefusal, NamesTheColumnsThatTheKernelNeeds) {
  EXPECT_TRUE(mentions(refusal_of([](auto& s, auto&, auto&) { s.groups = 2; }), "W has 36 columns"));
  EXPECT_TRUE(mentions(refusal_of([](auto&, auto& x, auto&) { x.channels = 5; }), "W has 36 columns"));
  EXPECT_TRUE(mentions(refusal_of([](auto&, auto& x, auto&) { x.channels = -4; }), "W has 36 columns"));
  EXPECT_TRUE(mentions(refusal_of([](auto& s, auto&, auto& y) { s.kernel_h = 2, y.height = 4; }), "W has 36 columns"));
}

TEST_F(ConvRefusal, NamesAnOutputOfTheWrongShape) {
  EXPECT_TRUE(mentions(refusal_of([](auto&, auto&, auto& y) { y.batch = 1; }), "y has shape (1, 6, 3, 4)"));
  EXPECT_TRUE(mentions(refusal_of([](auto&, auto&, auto& y) { y.channels = 5; }), "y has shape (2, 5, 3, 4)"));
  EXPECT_TRUE(mentions(refusal_of([](auto&, auto&, auto& y) { y.height = 5; }), "needs (2, 6, 3, 4)"));
  EXPECT_TRUE(mentions(refusal_of([](auto&, auto&, auto& y) { y.width = 6; }), "y has shape (2, 6, 3, 6)"));
  EXPECT_TRUE(mentions(refusal_of([](auto&, auto& x, auto&) { x.batch = 3; }), "needs (3, 6, 3, 4)"));
}

TEST_F(ConvRefusal, NamesGeometryThatMakesNoSense) {
  EXPECT_TRUE(mentions(refusal_of([](auto& s, auto&, auto&) { s.stride_w = 0; }), "stride width = 0"));
  EXPECT_TRUE(mentions(refusal_of([](auto& s, auto&, auto&) { s.pad_top = -1; }), "padding height = -1"));
  EXPECT_TRUE(mentions(refusal_of([](auto& s, auto&, auto&) { s.dilation_h = 3; }), "kernel reaches over 7"));
  EXPECT_TRUE(mentions(refusal_of([](auto&, auto& x, auto&) { x.height = -1; }), "input height = -1"));
}

TEST_F(ConvRefusal, NamesAPaddedImageThatIsTooLarge) {
  for (const Index pad : {Index{1} << 20, Index{1} << 31, Index{1} << 40, kMax / 4})
    EXPECT_NE(refusal_of([&](auto& s, auto&, auto& y) {
                s.pad_top = s.pad_bottom = s.pad_left = s.pad_right = pad;
                y.height = 2 * pad + 3;
                y.width = 2 * pad + 4;
              }),
              "(accepted)");
}

TEST_F(ConvRefusal, NamesAKernelOfMoreCellsThanATileCanNumber) {
  const Csr w = Parts{{0, 1}, {7}, {1}, 1, 4 * 300 * 300}.csr();
  std::vector<float> x(4 * 300 * 300), y(1);
  const ConvCase c{{.kernel_h = 300, .kernel_w = 300}, 1, 4, 300, 300, 1};
  EXPECT_REFUSED(conv2d(input_images(c, x.data()), w, c.shape, {}, output_images(c, y.data())), "kernel");
}

// In a process of its own, which may crash or take forever.
using ConvRefusalDeathTest = ConvRefusal;

TEST_F(ConvRefusalDeathTest, RefusesANegativeBatch) {
  EXPECT_EXIT(_exit(mentions(refusal_of([](auto&, auto& x, auto& y) { x.batch = y.batch = -1; }), "batch") ? 0 : 1),
              testing::ExitedWithCode(0), "");
}

TEST_F(ConvRefusalDeathTest, RefusesAHugeKernelAtOnce) {
  const auto huge = [](auto& s, auto&, auto& y) {
    s.kernel_h = s.pad_top = Index{1} << 40;
    y.height = 6;
  };
  EXPECT_EXIT(
      {
        alarm(10);
        _exit(mentions(refusal_of(huge), "columns") ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace sparse_engine
