// What one-shot calls keep with a matrix: the plans of the shapes it was last multiplied with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "formats/layouts.hpp"

namespace sparse_engine {

// A plan, of whatever operation.
class CachedPlan {
 public:
  virtual ~CachedPlan() = default;
  virtual const Tiles* tiles() const { return nullptr; }  // the layout it holds, if any
};

// All that a plan was made for, as whole numbers.
struct PlanKey {
  static constexpr int kMost = 34;
  std::int64_t words[kMost];
  int count = 0;

  template <class... Words>
  explicit PlanKey(Words... all) : words{static_cast<std::int64_t>(all)...}, count(sizeof...(all)) {
    static_assert(sizeof...(all) <= kMost);
  }
  bool operator==(const PlanKey& other) const { return count == other.count && std::equal(words, words + count, other.words); }
};

class PlanCache {
 public:
  explicit PlanCache(std::shared_ptr<const MatrixImpl> matrix) : layouts_(std::move(matrix)) {}

  Layouts& layouts() { return layouts_; }

  // The plan of the key, made by make() unless it is kept.
  template <class Plan, class Make>
  std::shared_ptr<const Plan> get(const PlanKey& key, const Make& make) {
    if (auto plan = find(key)) return std::static_pointer_cast<const Plan>(std::move(plan));
    std::shared_ptr<const Plan> plan = make();
    keep(key, plan);
    return plan;
  }

 private:
  static constexpr std::size_t kPlans = 8, kLayouts = 2;

  std::shared_ptr<const CachedPlan> find(const PlanKey& key);
  void keep(const PlanKey& key, std::shared_ptr<const CachedPlan> plan);

  struct Kept {
    PlanKey key;
    std::shared_ptr<const CachedPlan> plan;
  };
  Layouts layouts_;
  std::mutex mutex_;
  std::vector<Kept> kept_;  // guarded by mutex_; the one used last comes first
};

}  // namespace sparse_engine
