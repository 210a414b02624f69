// How a product with many columns runs: cut into parts, each packed and multiplied by one thread.
#pragma once

#include "ops/conv/planes.hpp"

namespace sparse_engine {

// y = act(conv(x, W) + b + residual); all arguments have been checked. A linear layer is a 1×1 convolution of one image whose
// pixels are its columns.
void multiply_in_parts(const ConstImages& x, const Matrix& w, const Conv2dShape& s, const Geometry& g, const Epilogue& epilogue,
                       const Images& y);

}  // namespace sparse_engine
