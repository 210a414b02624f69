// Planes of another size, between whose rows and columns the new ones lie.
#pragma once

#include <memory>

#include "kernels/table.hpp"
#include "ops/plan.hpp"

namespace sparse_engine {

// x and y without data; rows of both are contiguous (stride_w = 1), planes hold at least one cell, and at most 2²⁴ along an
// axis. Operands: second says of every row of y which row of x it lies at or behind, then how much of the next one it takes,
// (2, height); third the same of columns. Numbers outside count as the nearest inside; the next of the last is the last.
std::shared_ptr<const Plan> plan_resize(const Kernels& table, const ConstImages& x, const Images& y, int threads);

}  // namespace sparse_engine
