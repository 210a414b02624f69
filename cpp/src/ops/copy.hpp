// Copies between strides: parts, permutations and repetitions of a tensor, and tensors into a part of another.
#pragma once

#include <memory>
#include <vector>

#include "ops/plan.hpp"

namespace sparse_engine {

// One axis of what is copied. x_stride may be 0: the same is read again.
struct CopyAxis {
  Index length, x_stride, y_stride;
};

// y[Σ i·y_stride] = x[first + Σ i·x_stride] for every index i of the axes, which do not overlap in y.
std::shared_ptr<const Plan> plan_copy(const std::vector<CopyAxis>& axes, Index first, int threads);

}  // namespace sparse_engine
