#include "session/memory_plan.hpp"

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

void expect_apart(const std::vector<Lifetime>& values, const MemoryPlan& plan) {
  for (std::size_t a = 0; a < values.size(); ++a) {
    EXPECT_EQ(plan.offsets[a] % 16, 0);
    EXPECT_LE(plan.offsets[a] + values[a].floats, plan.floats);
    for (std::size_t b = 0; b < a; ++b) {
      if (values[a].last < values[b].first || values[b].last < values[a].first) continue;
      if (values[a].floats == 0 || values[b].floats == 0) continue;
      EXPECT_TRUE(plan.offsets[a] + values[a].floats <= plan.offsets[b] ||
                  plan.offsets[b] + values[b].floats <= plan.offsets[a])
          << a << " and " << b << " are alive at once and overlap";
    }
  }
}

TEST(MemoryPlan, TakesMemoryOfTheDeadForAChain) {
  std::vector<Lifetime> chain;
  for (Index i = 0; i < 10; ++i) chain.push_back({1600, i, i + 1});
  const MemoryPlan plan = plan_memory(chain);
  expect_apart(chain, plan);
  EXPECT_EQ(plan.floats, 2 * 1600);
}

TEST(MemoryPlan, NeverLetsTheLivingOverlap) {
  Random random(81);
  for (int repeat = 0; repeat < 200; ++repeat) {
    std::vector<Lifetime> values;
    std::vector<Index> alive(40);
    for (Index i = random.between(1, 30); i > 0; --i) {
      const Index first = random.between(0, 29), last = first + random.between(0, 9);
      values.push_back({random.between(0, 500), first, last});
      for (Index t = first; t <= last; ++t) alive[t] += (values.back().floats + 15) / 16 * 16;
    }
    const MemoryPlan plan = plan_memory(values);
    expect_apart(values, plan);
    EXPECT_LE(plan.floats, 2 * *std::max_element(alive.begin(), alive.end()));
  }
}

TEST(MemoryPlan, RefusesMoreThanMemoryHas) {
  EXPECT_REFUSED(plan_memory({{std::numeric_limits<Index>::max(), 0, 0}}), "arena");
}

}  // namespace
}  // namespace sparse_engine
