// Which nodes take the rows of several calls as if they were of one. Calls of different sizes, such as sequences of different
// lengths, lie one behind the other in every value. What treats each row for itself, as products and norms do, runs once on the
// rows of all, and weights are read once; the rest, such as attention, runs for each call.
#pragma once

#include <vector>

#include "session/views.hpp"
#include "sparse_engine/program.hpp"

namespace sparse_engine {

// Whether `node` is such a one. `views`: of the program at the sum of the sizes.
bool takes_joined_rows(const Program& program, const NodeInfo& node, const std::vector<View>& views, Index sum);

// Whether values lie in one another at one of the sizes as they do at the sum.
bool lie_alike(const Program& program, const std::vector<View>& joined, Index sum, const std::vector<View>& alone, Index size);

}  // namespace sparse_engine
