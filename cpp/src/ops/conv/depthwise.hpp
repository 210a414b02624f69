// Depthwise convolutions whose every tap is stored: planes are read where they lie.
#pragma once

#include "base/aligned_array.hpp"
#include "kernels/table.hpp"
#include "sparse_engine/conv.hpp"
#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

// Some rows of a plane, and what of them an output row reads.
struct PlaneRows {
  const float* data;  // of the first of them
  Index stride, first, count;
};

class DepthwiseFilter {
 public:
  // Whether kernels know this size, stride and dilation; of matrices they take those of which no tap is missing.
  static bool knows(const Conv2dParams& s);
  static bool takes(const Matrix& w, const Conv2dParams& s);

  // A row of W for each channel.
  DepthwiseFilter(const Kernels& table, const Matrix& w, const Conv2dParams& s);

  // Output rows [first, first + rows) of one channel, `columns` wide, y_row apart; `y`: the first of them. What x leaves out is
  // padding.
  void run(Index channel, const PlaneRows& x, Index width, const Epilogue& epilogue, Index first, Index rows, Index columns,
           float* y, Index y_row) const;

 private:
  const Kernels* table_;
  Conv2dParams s_;
  Array<float> taps_;
};

}  // namespace sparse_engine
