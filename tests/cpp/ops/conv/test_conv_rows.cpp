#include <gtest/gtest.h>

#include <vector>

#include "reference_conv.hpp"
#include "sparse_engine/conv.hpp"

// Output rows of whole vectors, wide enough for a panel: they are written where they belong, panel by panel.
namespace sparse_engine {
namespace {

using namespace reference;

ConvCase padded(Index width, Index height, Index stride, Index batch, Index channels, Index filters) {
  return same_size(3, stride, batch, channels, height, width, filters);
}

TEST(ConvRows, LieWithinTheBoundForEveryWidth) {
  std::uint64_t seed = 1;
  for (const Index width : {40, 48, 56, 60, 64, 96, 104, 112, 128, 160, 168, 224})
    for (const Index stride : {1, 2}) expect_case_within_bound(padded(width, 5, stride, 2, 3, 37), 0.5, seed++);
  ConvCase odd = padded(56, 9, 1, 2, 6, 10);  // 54 wide, then 56 again
  odd.shape.groups = 2;
  expect_case_within_bound(odd, 0.5, seed++);
  odd.shape.dilation_h = odd.shape.dilation_w = 2;
  odd.shape.pad_left = 0;
  odd.shape.pad_right = 4;
  expect_case_within_bound(odd, 0.5, seed++);
  odd.shape.pad_left = odd.shape.pad_right = 0;
  expect_case_within_bound(odd, 0.5, seed++);
}

// Of many filters, rows of more than a panel begin with cache lines in the planes.
TEST(ConvRows, LieWithinTheBoundWhereTheyAreAligned) {
  std::uint64_t seed = 1;
  for (const Index width : {96, 112, 168, 224})
    for (const Index filters : {63, 64, 70}) expect_case_within_bound(padded(width, 4, 1, 1, 3, filters), 0.5, seed++);
  ConvCase odd = padded(116, 9, 1, 1, 2, 128);  // 112 wide
  odd.shape.groups = 2;
  odd.shape.dilation_h = odd.shape.dilation_w = 2;
  odd.shape.pad_left = odd.shape.pad_right = 0;
  expect_case_within_bound(odd, 0.5, seed++);
  odd.shape.pad_right = 8;  // 120 wide
  expect_case_within_bound(odd, 0.5, seed++);
}

TEST(ConvRows, LieWithinTheBoundForManyBlocksOfChannels) {
  for (const double density : {0.02, 0.1, 0.6}) expect_case_within_bound(padded(56, 6, 1, 1, 70, 40), density, 7);
}

TEST(ConvRows, LeaveWhatLiesBetweenAndBehindThemAlone) {
  const ConvCase c = padded(56, 5, 1, 2, 9, 35);
  const Weights w = integer_weights(c.filters, c.cols(), 0.3, 1);
  const std::vector<float> x = integers(c.inputs(), 2), bias = integers(c.filters, 3), before = integers(c.outputs(), 4);
  const Expected expected = convolution(c, w, x, bias);
  const Csr csr = w.csr();
  for (const Index apart : {0, 3})
    for (const int threads : {1, 3})
      for_each_isa([&] {
        const Threads used(threads);
        const Index row = 56 + apart, plane = 5 * row, image = c.filters * plane;
        std::vector<float> start(c.batch * image, -7.0f);
        const auto for_each_output = [&](const auto& use) {
          for (Index i = 0, at = 0; i < c.batch * c.filters * 5; ++i)
            for (Index v = 0; v < 56; ++v) use(at++, i * row + v);
        };
        for_each_output([&](Index at, Index place) { start[place] = before[at]; });
        for (const Flush side : {Flush::beginning, Flush::end}) {
          Guarded<float> y(start, side);
          conv2d(input_images(c, x.data()), csr, c.shape, {.bias = bias.data(), .residual = y.data()},
                 {y.data(), c.batch, c.filters, 5, 56, image, plane, row, 1});
          std::vector<float> sums;
          for_each_output([&](Index at, Index place) {
            sums.push_back(y.data()[place] - before[at]);
            y.data()[place] = -7.0f;
          });
          expect_exactly(sums, expected);
          for (Index i = 0; i < c.batch * image; ++i) ASSERT_EQ(y.data()[i], -7.0f) << "between rows, at " << i;
        }
      });
}

}  // namespace
}  // namespace sparse_engine
