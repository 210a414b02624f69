// Rows of a table by their numbers: an embedding.
#pragma once

#include <memory>

#include "ops/plan.hpp"

namespace sparse_engine {

// y[i] = row x[i] of the second operand, which has `rows` of `width` floats; x: `count` whole numbers. A number that is no row
// makes a row of NaN: tasks do not throw.
std::shared_ptr<const Plan> plan_gather(Index count, Index rows, Index width, int threads);

}  // namespace sparse_engine
