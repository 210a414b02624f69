// Products of a sparse matrix with dense panels.
#pragma once

#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

// Y = act(W · X + b + residual): X is cols × n, Y rows × n. Y must not overlap X.
// Throws std::invalid_argument when the shapes do not agree.
void multiply(const Matrix& w, const ConstPanel& x, const Epilogue& epilogue, const Panel& y);

// y = act(x · Wᵀ + b + residual): x is n × cols, y n × rows, the layout of torch.nn.Linear. The same product with both panels
// transposed.
void linear(const ConstPanel& x, const Matrix& w, const Epilogue& epilogue, const Panel& y);

}  // namespace sparse_engine
