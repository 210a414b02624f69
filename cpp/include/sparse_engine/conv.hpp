// Direct sparse convolution over images and volumes: no im2col matrix is written.
#pragma once

#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

// Output height and width of a convolution; throws std::invalid_argument when the geometry makes no sense (strides and
// dilations below 1, negative padding, a kernel larger than the padded input).
struct OutputSize {
  Index height;
  Index width;
};
OutputSize conv2d_output_size(const Conv2dParams& shape, Index height, Index width);

// y = act(conv(x, W) + b + residual). W is Cout × (Cin / groups · kernel_h · kernel_w), columns ordered (channel, kh, kw) as in
// torch; y has the output size. Throws std::invalid_argument when anything disagrees.
void conv2d(const ConstImages& x, const Matrix& w, const Conv2dParams& shape, const Epilogue& epilogue, const Images& y);

// The same over volumes.
struct OutputVolume {
  Index depth;
  Index height;
  Index width;
};
OutputVolume conv3d_output_size(const Conv3dParams& shape, Index depth, Index height, Index width);

// y = act(conv(x, W) + b + residual). W is Cout × (Cin / groups · kernel_d · kernel_h · kernel_w), columns ordered (channel,
// kd, kh, kw) as in torch; y has the output size. Throws std::invalid_argument when anything disagrees.
void conv3d(const ConstVolumes& x, const Matrix& w, const Conv3dParams& shape, const Epilogue& epilogue, const Volumes& y);

}  // namespace sparse_engine
