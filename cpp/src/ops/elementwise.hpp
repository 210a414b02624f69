// Operations on every element.
#pragma once

#include <memory>

#include "kernels/table.hpp"
#include "ops/plan.hpp"

namespace sparse_engine {

// Three axes to which any broadcast along whole leading and trailing axes comes down: y[o][m][i] = a[o][m][i] op b[m]. With
// `inner` = 1 and `outer` = 1 it is element by element.
struct BroadcastShape {
  Index outer, middle, inner;
};

// Operands: x is a, second is b (none for BinaryOp::first); y may be either where it is as large.
std::shared_ptr<const Plan> plan_binary(const Kernels& table, BinaryOp op, const BroadcastShape& shape, int threads);

}  // namespace sparse_engine
