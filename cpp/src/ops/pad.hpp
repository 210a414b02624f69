// A tensor with a number around it.
#pragma once

#include <memory>
#include <vector>

#include "ops/plan.hpp"

namespace sparse_engine {

struct PadAxis {
  Index before, length, after;
};

// x contiguous, of the axes' lengths; y contiguous, with what is before and after. Operands: second is the number.
std::shared_ptr<const Plan> plan_pad(const std::vector<PadAxis>& axes, int threads);

}  // namespace sparse_engine
