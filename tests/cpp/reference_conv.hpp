// Convolution by its definition, and the library's on the same case.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "reference.hpp"

namespace sparse_engine::reference {

struct ConvCase {
  Conv2dParams shape;
  Index batch, channels, height, width, filters;

  Index cols() const { return channels / shape.groups * shape.kernel_h * shape.kernel_w; }
  Index inputs() const { return batch * channels * height * width; }
  Index out_height() const {
    return (height + shape.pad_top + shape.pad_bottom - (shape.kernel_h - 1) * shape.dilation_h - 1) / shape.stride_h + 1;
  }
  Index out_width() const {
    return (width + shape.pad_left + shape.pad_right - (shape.kernel_w - 1) * shape.dilation_w - 1) / shape.stride_w + 1;
  }
  Index outputs() const { return batch * filters * out_height() * out_width(); }
  std::string text() const {
    std::ostringstream out;
    out << batch << " images of " << channels << " × " << height << " × " << width << ", " << filters << " filters of "
        << shape.kernel_h << " × " << shape.kernel_w << ", stride " << shape.stride_h << " × " << shape.stride_w
        << ", padding top " << shape.pad_top << " left " << shape.pad_left << " bottom " << shape.pad_bottom << " right "
        << shape.pad_right << ", dilation " << shape.dilation_h << " × " << shape.dilation_w << ", groups " << shape.groups;
    return out.str();
  }
};

// The same along both axes.
inline Conv2dParams square(Index kernel, Index stride, Index pad) {
  return {.kernel_h = kernel,
          .kernel_w = kernel,
          .stride_h = stride,
          .stride_w = stride,
          .pad_top = pad,
          .pad_left = pad,
          .pad_bottom = pad,
          .pad_right = pad};
}

// An odd kernel, padded so that stride 1 keeps the size.
inline ConvCase same_size(Index kernel, Index stride, Index batch, Index channels, Index height, Index width, Index filters) {
  return {square(kernel, stride, kernel / 2), batch, channels, height, width, filters};
}

// act(conv(x, W) + b) of a contiguous NCHW x; an empty bias is none.
inline Expected convolution(const ConvCase& c, const Weights& w, const std::vector<float>& x,
                            const std::vector<float>& bias = {}, Activation activation = Activation::none) {
  const Conv2dParams& s = c.shape;
  const Index group_filters = c.filters / s.groups, group_channels = c.channels / s.groups;
  Expected expected;
  for (Index image = 0; image < c.batch; ++image)
    for (Index filter = 0; filter < c.filters; ++filter)
      for (Index out_h = 0; out_h < c.out_height(); ++out_h)
        for (Index out_w = 0; out_w < c.out_width(); ++out_w)
          add_output(
              w, filter, bias, activation,
              [&](Index col) -> double {
                const Index channel = filter / group_filters * group_channels + col / (s.kernel_h * s.kernel_w);
                const Index h = out_h * s.stride_h - s.pad_top + col / s.kernel_w % s.kernel_h * s.dilation_h;
                const Index v = out_w * s.stride_w - s.pad_left + col % s.kernel_w * s.dilation_w;
                if (h < 0 || h >= c.height || v < 0 || v >= c.width) return 0;
                return x[((image * c.channels + channel) * c.height + h) * c.width + v];
              },
              expected);
  return expected;
}

inline ConstImages input_images(const ConvCase& c, const float* x) {
  return {x, c.batch, c.channels, c.height, c.width, c.channels * c.height * c.width, c.height * c.width, c.width, 1};
}

inline Images output_images(const ConvCase& c, float* y) {
  const Index h = c.out_height(), w = c.out_width();
  return {y, c.batch, c.filters, h, w, c.filters * h * w, h * w, w, 1};
}

// What the library makes of the same arguments. What it fails to write stays NaN.
inline std::vector<float> convolved(const ConvCase& c, const Matrix& w, const std::vector<float>& x,
                                    const std::vector<float>& bias = {}, Activation activation = Activation::none) {
  std::vector<float> y(c.outputs(), kNaN);
  conv2d(input_images(c, x.data()), w, c.shape, {.bias = pointer(bias), .activation = activation}, output_images(c, y.data()));
  return y;
}

// A case with real numbers; which activation, and whether there is a bias, is drawn with the seed.
inline void expect_case_within_bound(const ConvCase& c, double density, std::uint64_t seed) {
  SCOPED_TRACE(c.text());
  const Weights w = real_weights(c.filters, c.cols(), density, seed);
  std::vector<float> x = reals(c.inputs(), seed + 1);
  for (float& v : x) v *= 4;
  Random random(seed + 3);
  const Activation activation = random.pick(kActivations);
  const std::vector<float> bias = random.one_in(0.3) ? std::vector<float>{} : reals(c.filters, seed + 2);
  const Expected expected = convolution(c, w, x, bias, activation);
  for_each_isa([&] { expect_within_bound(convolved(c, w.csr(), x, bias, activation), expected); });
}

}  // namespace sparse_engine::reference
