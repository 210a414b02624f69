// Plans for Y = act(W · X + b + residual) where a stored weight finds its row of X at column × pitch.
#pragma once

#include <memory>

#include "kernels/table.hpp"
#include "ops/plan.hpp"
#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

// X and Y of few columns; data is null.
std::shared_ptr<const Plan> plan_gemv(const Kernels& table, const Matrix& w, const ConstPanel& x, const Panel& y, int threads);

// X and Y of many columns, which are the positions of images: of one image, one pixel high, for a linear layer. Data is null,
// both are as high and wide. Each of `groups` groups of rows reads channels of its own.
std::shared_ptr<const Plan> plan_panels(const Kernels& table, const Matrix& w, const ConstImages& x, Index groups,
                                        const Images& y, int threads);

}  // namespace sparse_engine
