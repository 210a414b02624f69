#include "ops/plan.hpp"

#include <gtest/gtest.h>

#include <set>

#include "reference.hpp"

namespace sparse_engine {
namespace {

// Notes where the scratch of each task lies.
class NotingPlan final : public Plan {
 public:
  NotingPlan(Index tasks, int threads, Index shared, Index worker) { cut(Strategy::panels, tasks, threads, shared, worker); }
  mutable std::vector<std::pair<const float*, float*>> scratch;

 private:
  void run_one(Index, const Operands&, const float* shared, float* own) const override { scratch.emplace_back(shared, own); }
};

TEST(Plan, GivesEachWorkerCacheLinesOfItsOwn) {
  const NotingPlan plan(6, 3, 5, 17);
  EXPECT_EQ(plan.worker_bytes(), 2 * 64);
  EXPECT_EQ(plan.workspace_bytes(), 64 + 3 * 2 * 64);
  std::vector<float> workspace(plan.workspace_bytes() / 4);
  for (int worker = 0; worker < 3; ++worker) plan.run_task(0, {}, workspace.data(), plan.own_part(workspace.data(), worker));
  for (int worker = 0; worker < 3; ++worker) {
    EXPECT_EQ(plan.scratch[worker].first, workspace.data());
    EXPECT_EQ(plan.scratch[worker].second, workspace.data() + 16 + worker * 32);
  }
}

TEST(Plan, RunsEveryTaskOnce) {
  const NotingPlan plan(7, 1, 0, 0);
  EXPECT_EQ(plan.workspace_bytes(), 0);
  plan.run({}, nullptr);
  EXPECT_EQ(plan.scratch.size(), 7);
}

TEST(Plan, RefusesAWorkspaceThatNoMemoryHolds) {
  constexpr Index kMost = std::numeric_limits<Index>::max();
  EXPECT_REFUSED(NotingPlan(1, 2, 0, kMost / 2), "workspace");
  EXPECT_REFUSED(NotingPlan(1, 2, kMost, 0), "workspace");
}

}  // namespace
}  // namespace sparse_engine
