#include "ops/conv/depthwise.hpp"

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

void DepthwiseFilter::run(Index channel, const PlaneRows& x, Index width, const Epilogue& epilogue, Index first, Index rows,
                          Index columns, float* y, Index y_row) const {
  table_->depthwise_plane({.x = x.data,
                           .x_row = x.stride,
                           .height = x.count,
                           .width = width,
                           .first_row = first * s_.stride_h - s_.pad_top - x.first,
                           .pad_left = s_.pad_left,
                           .size = static_cast<int>(s_.kernel_h),
                           .stride = static_cast<int>(s_.stride_h),
                           .taps = taps_.data() + channel * s_.kernel_h * s_.kernel_w,
                           .bias = epilogue.bias ? epilogue.bias[channel] : 0.0f,
                           .activation = epilogue.activation,
                           .y = y,
                           .y_row = y_row,
                           .rows = rows,
                           .columns = columns});
}

}  // namespace sparse_engine
