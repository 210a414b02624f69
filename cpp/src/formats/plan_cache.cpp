#include "formats/plan_cache.hpp"

namespace sparse_engine {

std::shared_ptr<const CachedPlan> PlanCache::find(const PlanKey& key) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& kept) { return kept.key == key; });
  if (found == kept_.end()) return nullptr;
  std::rotate(kept_.begin(), found, found + 1);
  return kept_.front().plan;
}

void PlanCache::keep(const PlanKey& key, std::shared_ptr<const CachedPlan> plan) {
  std::vector<Kept> dropped;  // destroyed after the lock is released
  const std::lock_guard lock(mutex_);
  std::vector<Kept> next;
  next.push_back({key, std::move(plan)});
  std::vector<const Tiles*> layouts;
  for (Kept& kept : kept_) next.push_back(std::move(kept));
  kept_.clear();
  for (Kept& kept : next) {
    const Tiles* tiles = kept.plan->tiles();
    const bool held = tiles == nullptr || std::find(layouts.begin(), layouts.end(), tiles) != layouts.end();
    if (kept_.size() == kPlans || (!held && layouts.size() == kLayouts)) {
      dropped.push_back(std::move(kept));
      continue;
    }
    if (!held) layouts.push_back(tiles);
    kept_.push_back(std::move(kept));
  }
}

}  // namespace sparse_engine
