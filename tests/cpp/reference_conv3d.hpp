// Convolution over volumes by its definition, and the library's on the same case.
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include "reference_conv.hpp"

namespace sparse_engine::reference {

// Height, width and all that goes with them are those of `slice`, whose batch is that of the volumes.
struct Conv3dCase {
  ConvCase slice;
  Index depth, kernel_d, stride_d = 1, pad_front = 0, pad_back = 0, dilation_d = 1;

  Conv3dParams shape() const { return {kernel_d, stride_d, pad_front, pad_back, dilation_d, slice.shape}; }
  Index cols() const { return slice.cols() * kernel_d; }
  Index inputs() const { return slice.inputs() * depth; }
  Index out_depth() const { return (depth + pad_front + pad_back - (kernel_d - 1) * dilation_d - 1) / stride_d + 1; }
  Index outputs() const { return slice.outputs() * out_depth(); }
  std::string text() const {
    std::ostringstream out;
    out << "volumes " << depth << " deep of " << slice.text() << "; along depth " << kernel_d << ", stride " << stride_d
        << ", padding " << pad_front << " " << pad_back << ", dilation " << dilation_d;
    return out.str();
  }
};

// act(conv(x, W) + b) of a contiguous NCDHW x; an empty bias is none.
inline Expected convolution(const Conv3dCase& c, const Weights& w, const std::vector<float>& x,
                            const std::vector<float>& bias = {}, Activation activation = Activation::none) {
  const Conv2dParams& s = c.slice.shape;
  const Index group_filters = c.slice.filters / s.groups, group_channels = c.slice.channels / s.groups;
  const Index plane = s.kernel_h * s.kernel_w;
  Expected expected;
  for (Index n = 0; n < c.slice.batch; ++n)
    for (Index filter = 0; filter < c.slice.filters; ++filter)
      for (Index out_d = 0; out_d < c.out_depth(); ++out_d)
        for (Index out_h = 0; out_h < c.slice.out_height(); ++out_h)
          for (Index out_w = 0; out_w < c.slice.out_width(); ++out_w)
            add_output(
                w, filter, bias, activation,
                [&](Index col) -> double {
                  const Index channel = filter / group_filters * group_channels + col / (plane * c.kernel_d);
                  const Index d = out_d * c.stride_d - c.pad_front + col / plane % c.kernel_d * c.dilation_d;
                  const Index h = out_h * s.stride_h - s.pad_top + col / s.kernel_w % s.kernel_h * s.dilation_h;
                  const Index v = out_w * s.stride_w - s.pad_left + col % s.kernel_w * s.dilation_w;
                  if (d < 0 || d >= c.depth || h < 0 || h >= c.slice.height || v < 0 || v >= c.slice.width) return 0;
                  return x[(((n * c.slice.channels + channel) * c.depth + d) * c.slice.height + h) * c.slice.width + v];
                },
                expected);
  return expected;
}

inline ConstVolumes input_volumes(const Conv3dCase& c, const float* x) {
  const Index rows = c.slice.width, slice = c.slice.height * rows, channel = c.depth * slice;
  return {x,
          c.slice.batch,
          c.slice.channels,
          c.depth,
          c.slice.height,
          c.slice.width,
          c.slice.channels * channel,
          channel,
          slice,
          rows,
          1};
}

inline Volumes output_volumes(const Conv3dCase& c, float* y) {
  const Index h = c.slice.out_height(), w = c.slice.out_width(), d = c.out_depth();
  return {y, c.slice.batch, c.slice.filters, d, h, w, c.slice.filters * d * h * w, d * h * w, h * w, w, 1};
}

// What the library makes of the same arguments. What it fails to write stays NaN.
inline std::vector<float> convolved(const Conv3dCase& c, const Matrix& w, const std::vector<float>& x,
                                    const std::vector<float>& bias = {}, Activation activation = Activation::none) {
  std::vector<float> y(c.outputs(), kNaN);
  conv3d(input_volumes(c, x.data()), w, c.shape(), {.bias = pointer(bias), .activation = activation},
         output_volumes(c, y.data()));
  return y;
}

}  // namespace sparse_engine::reference
