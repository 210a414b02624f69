// Products of a sparse matrix with dense panels.
#pragma once

#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

// Y = act(W · X + b): X is cols × n, Y rows × n; bias has one entry per row of W, or is null. Y must not overlap X.
// Throws std::invalid_argument when the shapes do not agree.
void multiply(const Matrix& w, const ConstPanel& x, const float* bias, Activation activation, const Panel& y);

// y = act(x · Wᵀ + b): x is n × cols, y n × rows, the layout of torch.nn.Linear. The same product with both panels transposed.
void linear(const ConstPanel& x, const Matrix& w, const float* bias, Activation activation, const Panel& y);

}  // namespace sparse_engine
