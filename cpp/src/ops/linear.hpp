// The plan of a product with a dense panel.
#pragma once

#include <memory>

#include "kernels/table.hpp"
#include "ops/plan.hpp"
#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

// Y = act(W · X + b + residual), X and Y without data, neither empty: by few columns or by panels.
std::shared_ptr<const Plan> plan_multiply(const Kernels& table, const Matrix& w, const ConstPanel& x, const Panel& y,
                                          int threads);

}  // namespace sparse_engine
