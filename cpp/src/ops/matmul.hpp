// Products of two computed matrices, one a batch after another.
#pragma once

#include <memory>

#include "kernels/table.hpp"
#include "ops/plan.hpp"

namespace sparse_engine {

// y (batch, rows, columns) = x (batch, rows, depth) · second (batch, depth, columns), or (batch, columns, depth) where it is
// `transposed`; all contiguous.
struct MatmulShape {
  Index batch, rows, depth, columns;
  bool transposed;
};

std::shared_ptr<const Plan> plan_matmul(const Kernels& table, const MatmulShape& shape, int threads);

}  // namespace sparse_engine
