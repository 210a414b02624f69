#include "session/memory_plan.hpp"

#include <algorithm>
#include <numeric>

#include "base/check.hpp"
#include "ops/plan.hpp"

namespace sparse_engine {

MemoryPlan plan_memory(const std::vector<Lifetime>& values) {
  MemoryPlan plan;
  plan.offsets.assign(values.size(), 0);
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return values[a].floats > values[b].floats; });
  std::vector<std::size_t> placed;  // by offset
  for (const std::size_t value : order) {
    const Index floats = whole_lines(values[value].floats, "arena");
    Index end = 0, best = -1, best_gap = 0;
    for (const std::size_t other : placed) {
      if (values[other].last < values[value].first || values[other].first > values[value].last) continue;
      const Index gap = plan.offsets[other] - end;
      if (gap >= floats && (best < 0 || gap < best_gap)) {
        best = end;
        best_gap = gap;
      }
      end = std::max(end, plan.offsets[other] + whole_lines(values[other].floats, "arena"));
    }
    const Index offset = best < 0 ? end : best;
    plan.offsets[value] = offset;
    plan.floats = std::max(plan.floats, checked_add(offset, floats, "arena"));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), value,
                                   [&](std::size_t a, std::size_t b) { return plan.offsets[a] < plan.offsets[b]; }),
                  value);
  }
  return plan;
}

}  // namespace sparse_engine
