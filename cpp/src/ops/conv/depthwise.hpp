// Depthwise convolutions whose every tap is stored: planes are read where they lie.
#pragma once

#include "base/aligned_array.hpp"
#include "kernels/table.hpp"
#include "sparse_engine/conv.hpp"
#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

// Some rows of each channel's plane.
struct PlaneRows {
  const float* data;  // of the first channel, the first of them
  Index channel_stride, stride, first, count;
};

// Where output rows [first, first + rows) of each channel go, `columns` wide.
struct OutputRows {
  float* data;  // of the first channel, the first of them
  Index channel_stride, stride, first, rows, columns;
};

class DepthwiseFilter {
 public:
  // Whether kernels know this size, stride and dilation; of matrices they take those of which no tap is missing.
  static bool knows(const Conv2dParams& s);
  static bool takes(const Matrix& w, const Conv2dParams& s);

  // A row of W for each channel.
  DepthwiseFilter(const Kernels& table, const Matrix& w, const Conv2dParams& s);

  // Channels [channel, channel + channels). What x leaves out is padding.
  void run(Index channel, Index channels, const PlaneRows& x, Index width, const Epilogue& epilogue, const OutputRows& y) const;

 private:
  void run_one(Index channel, const PlaneRows& x, Index width, const float* bias, Activation activation,
               const OutputRows& y) const;

  const Kernels* table_;
  Conv2dParams s_;
  Array<float> taps_;
};

}  // namespace sparse_engine
