#include <gtest/gtest.h>

#include <vector>

#include "reference_conv.hpp"
#include "sparse_engine/conv.hpp"

// Output rows too narrow for a panel: the columns between them are left out where the result is written.
namespace sparse_engine {
namespace {

using namespace reference;

// Rows that end anywhere in a vector, gaps from none to wider than a vector, planes of less than a vector and of many panels.
std::vector<ConvCase> cases() {
  std::vector<ConvCase> all;
  for (const Index width : {1, 2, 3, 5, 7, 8, 9, 13, 14, 15, 17, 28, 31, 33, 47})
    for (const Index height : {1, 2, 9}) all.push_back(same_size(3, 1, 2, 5, height, width, 35));
  for (const Index dilation : {1, 4, 9})
    all.push_back({{.kernel_h = 1, .kernel_w = 3, .dilation_w = dilation}, 1, 6, 7, 2 * dilation + 12, 33});
  for (const Index stride : {2, 3}) all.push_back(same_size(5, stride, 2, 3, 20, 29, 34));
  all.push_back({{.kernel_h = 3, .kernel_w = 1, .pad_top = 1, .pad_bottom = 1}, 1, 4, 6, 14, 40});  // no gaps at all
  all.push_back(same_size(3, 1, 1, 70, 90, 30, 40));                                                // bands
  return all;
}

TEST(ConvGaps, AreLeftOutWhereverRowsEnd) {
  std::uint64_t seed = 1;
  for (const ConvCase& c : cases()) {
    const Weights w = integer_weights(c.filters, c.cols(), 0.4, seed++);
    const std::vector<float> x = integers(c.inputs(), seed++), bias = integers(c.filters, seed++);
    const Expected expected = convolution(c, w, x, bias);
    const Csr csr = w.csr();
    for_each_isa([&] {
      for (const int threads : {1, 3}) {
        const Threads used(threads);
        for (const Flush side : {Flush::beginning, Flush::end}) {
          Guarded<float> y(std::vector<float>(c.outputs(), -7.0f), side);
          conv2d(input_images(c, x.data()), csr, c.shape, {.bias = bias.data()}, output_images(c, y.data()));
          expect_exactly({y.data(), static_cast<std::size_t>(c.outputs())}, expected);
          ASSERT_TRUE(y.untouched()) << c.text();
        }
      }
    });
  }
}

TEST(ConvGaps, ActivationsFollow) {
  for (const Index width : {7, 14, 28})
    for (std::uint64_t seed = 1; seed < 9; ++seed) expect_case_within_bound(same_size(3, 1, 2, 9, width, width, 70), 0.3, seed);
}

TEST(ConvGaps, ImagesMayLieApart) {
  const ConvCase c = same_size(3, 1, 3, 5, 9, 14, 37);
  const Weights w = integer_weights(c.filters, c.cols(), 0.4, 1);
  const std::vector<float> x = integers(c.inputs(), 2), bias = integers(c.filters, 3);
  const Expected expected = convolution(c, w, x, bias);
  const Csr csr = w.csr();
  const Index plane = 9 * 14 + 3, image = c.filters * plane + 5;
  for_each_isa([&] {
    std::vector<float> y(c.batch * image, -7.0f), outputs;
    conv2d(input_images(c, x.data()), csr, c.shape, {.bias = bias.data()},
           {y.data(), c.batch, c.filters, 9, 14, image, plane, 14, 1});
    for (Index n = 0; n < c.batch; ++n)
      for (Index f = 0; f < c.filters; ++f)
        for (Index i = 0; i < plane; ++i) {
          const float v = y[n * image + f * plane + i];
          if (i < 9 * 14)
            outputs.push_back(v);
          else
            ASSERT_EQ(v, -7.0f) << "behind a plane";
        }
    expect_exactly(outputs, expected);
  });
}

}  // namespace
}  // namespace sparse_engine
