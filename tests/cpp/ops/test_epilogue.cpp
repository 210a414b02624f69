// What happens to a sum on its way to y: bias, residual, activation, wherever the result lies.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "reference_conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

constexpr Activation kRelu = Activation::relu;

// Products of integers, so that adding an integer residual stays exact.
Expected with_residual(const Expected& product, const std::vector<float>& residual) {
  Expected expected = product;
  for (std::size_t i = 0; i < residual.size(); ++i)
    expected.values[i] = std::max(0.0, expected.values[i] + static_cast<double>(residual[i]));
  return expected;
}

std::vector<float> transposed(const std::vector<float>& values, Index rows) {
  const Index columns = static_cast<Index>(values.size()) / rows;
  std::vector<float> result(values.size());
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < columns; ++c) result[c * rows + r] = values[r * columns + c];
  return result;
}

TEST(Epilogue, AddsAResidualToAProductBeforeTheActivation) {
  constexpr Index kRows = 450, kCols = 500;  // rows enough for those of a tile to be taken by their lengths
  const Weights w = integer_weights(kRows, kCols, 0.1, 1);
  const Csr csr = w.csr();
  const std::vector<float> bias = integers(kRows, 2);
  for (const Index n : {1, 2, 7, 8, 9, 16, 64, 70}) {
    SCOPED_TRACE("n = " + std::to_string(n));
    const std::vector<float> x = integers(kCols * n, 3), residual = integers(kRows * n, 4);
    const Expected expected = with_residual(product(w, x, n, bias), residual);
    const std::vector<float> x_rows = transposed(x, kCols), residual_rows = transposed(residual, kRows);
    for_each_isa([&] {
      std::vector<float> y(kRows * n, kNaN);
      multiply(csr, {x.data(), kCols, n, n, 1}, {.bias = bias.data(), .residual = residual.data(), .activation = kRelu},
               {y.data(), kRows, n, n, 1});
      expect_exactly(y, expected);
      std::vector<float> in_place = residual;
      multiply(csr, {x.data(), kCols, n, n, 1}, {.bias = bias.data(), .residual = in_place.data(), .activation = kRelu},
               {in_place.data(), kRows, n, n, 1});
      expect_exactly(in_place, expected);
      std::vector<float> rows = residual_rows;
      linear({x_rows.data(), n, kCols, kCols, 1}, csr, {.bias = bias.data(), .residual = rows.data(), .activation = kRelu},
             {rows.data(), n, kRows, kRows, 1});
      expect_exactly(transposed(rows, n), expected);
    });
  }
}

TEST(Epilogue, AddsAResidualToAConvolutionOfEitherMemoryOrder) {
  const auto same = [](Index kernel, Index stride) {
    Conv2dParams s{.kernel_h = kernel, .kernel_w = kernel, .stride_h = stride, .stride_w = stride};
    s.pad_top = s.pad_left = s.pad_bottom = s.pad_right = kernel / 2;
    return s;
  };
  for (const ConvCase& c :
       {ConvCase{same(1, 1), 3, 40, 7, 7, 70}, ConvCase{same(1, 1), 2, 8, 16, 16, 40}, ConvCase{same(1, 2), 2, 8, 9, 9, 40},
        ConvCase{same(3, 1), 1, 9, 20, 20, 40}, ConvCase{same(3, 1), 3, 5, 7, 7, 35}, ConvCase{same(5, 2), 2, 3, 17, 19, 33}}) {
    SCOPED_TRACE(c.text());
    const Weights w = integer_weights(c.filters, c.cols(), 0.4, 5);
    const Csr csr = w.csr();
    const std::vector<float> x = integers(c.inputs(), 6), bias = integers(c.filters, 7), residual = integers(c.outputs(), 8);
    const Expected expected = with_residual(convolution(c, w, x, bias), residual);
    const Index pixels = c.out_height() * c.out_width();
    for_each_isa([&] {
      for (const int threads : {1, 2, 5}) {
        const Threads use(threads);
        std::vector<float> y = residual;
        const Epilogue in_place{.bias = bias.data(), .residual = y.data(), .activation = kRelu};
        conv2d(input_images(c, x.data()), csr, c.shape, in_place, output_images(c, y.data()));
        expect_exactly(y, expected);

        // The same as channels_last, image by image.
        std::vector<float> last(c.outputs());
        for (Index i = 0; i < c.outputs(); ++i) {
          const Index image = i / pixels / c.filters, channel = i / pixels % c.filters;
          last[(image * pixels + i % pixels) * c.filters + channel] = residual[i];
        }
        std::vector<float> z(c.outputs(), kNaN);
        Images to = output_images(c, z.data());
        to.stride_c = 1, to.stride_h = to.width * c.filters, to.stride_w = c.filters;
        conv2d(input_images(c, x.data()), csr, c.shape, {.bias = bias.data(), .residual = last.data(), .activation = kRelu},
               to);
        for (Index i = 0; i < c.outputs(); ++i) {
          const Index image = i / pixels / c.filters, channel = i / pixels % c.filters;
          ASSERT_EQ(z[(image * pixels + i % pixels) * c.filters + channel], expected.values[i]) << "output " << i;
        }
      }
    });
  }
}

}  // namespace
}  // namespace sparse_engine
