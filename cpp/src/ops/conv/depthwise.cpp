#include "ops/conv/depthwise.hpp"

#include <algorithm>

#include "base/tuning.hpp"
#include "formats/matrix_impl.hpp"

namespace sparse_engine {

bool DepthwiseFilter::knows(const Conv2dParams& s) {
  const bool square = s.kernel_h == s.kernel_w && s.stride_h == s.stride_w && s.dilation_h == 1 && s.dilation_w == 1;
  const bool known = s.kernel_h == 3 || s.kernel_h == 5 || s.kernel_h == 7;
  return square && known && s.stride_h <= 2;
}

bool DepthwiseFilter::takes(const Matrix& w, const Conv2dParams& s) { return knows(s) && w.nnz() == w.rows() * w.cols(); }

DepthwiseFilter::DepthwiseFilter(const Kernels& table, const Matrix& w, const Conv2dParams& s) : table_(&table), s_(s) {
  taps_.resize(static_cast<std::size_t>(w.rows() * w.cols()));
  w.impl()->to_dense(taps_.data());
}

void DepthwiseFilter::run(Index channel, Index channels, const PlaneRows& x, Index width, const Epilogue& epilogue,
                          const OutputRows& y) const {
  const Index plane = y.rows * y.columns;
  // Of rows that are no whole vectors the kernel activates lanes that are no outputs, and a few sums at a time wait for one
  // another; small planes whose rows follow one another are activated as what they are, one long row.
  const bool together = y.stride == y.columns && plane <= Tuning::session.activated_together;
  const bool later = together && epilogue.activation > Activation::relu6;
  const Index at_once = later && y.channel_stride == plane
                            ? std::max<Index>(1, Tuning::session.activated_together / std::max<Index>(1, plane))
                            : 1;
  for (Index first = 0; first < channels; first += at_once) {
    const Index count = std::min(at_once, channels - first);
    OutputRows rows = y;
    for (Index c = first; c < first + count; ++c) {
      PlaneRows input = x;
      input.data += c * x.channel_stride;
      rows.data = y.data + c * y.channel_stride;
      run_one(channel + c, input, width, epilogue.bias, later ? Activation() : epilogue.activation, rows);
    }
    float* const done = y.data + first * y.channel_stride;
    if (later)
      table_->binary({.op = BinaryOp::first,
                      .a = done,
                      .b = nullptr,
                      .b_is_number = true,
                      .activation = epilogue.activation,
                      .count = count * plane,
                      .y = done});
  }
}

void DepthwiseFilter::run_one(Index channel, const PlaneRows& x, Index width, const float* bias, Activation activation,
                              const OutputRows& y) const {
  table_->depthwise_plane({.x = x.data,
                           .x_row = x.stride,
                           .height = x.count,
                           .width = width,
                           .first_row = y.first * s_.stride_h - s_.pad_top - x.first,
                           .pad_left = s_.pad_left,
                           .size = static_cast<int>(s_.kernel_h),
                           .stride = static_cast<int>(s_.stride_h),
                           .taps = taps_.data() + channel * s_.kernel_h * s_.kernel_w,
                           .bias = bias ? bias[channel] : 0.0f,
                           .activation = activation,
                           .y = y.data,
                           .y_row = y.stride,
                           .rows = y.rows,
                           .columns = y.columns});
}

}  // namespace sparse_engine
