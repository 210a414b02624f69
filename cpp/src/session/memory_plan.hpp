// Where values of a schedule lie in one block of memory: no two that are alive at once overlap.
#pragma once

#include <vector>

#include "sparse_engine/types.hpp"

namespace sparse_engine {

struct Lifetime {
  Index floats;
  Index first, last;  // steps, both included
};

struct MemoryPlan {
  std::vector<Index> offsets;  // in floats, whole cache lines
  Index floats = 0;
};

// The largest first, each into the smallest gap that holds it among those alive with it: at most a few per cent above the peak
// of what is alive at once for chains and residual blocks. Source: Pisarchyk and Lee, 2020 (greedy by size).
MemoryPlan plan_memory(const std::vector<Lifetime>& values);

}  // namespace sparse_engine
