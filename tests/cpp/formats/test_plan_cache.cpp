#include "formats/plan_cache.hpp"

#include <gtest/gtest.h>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

struct TestPlan final : CachedPlan {
  TestPlan(Layouts& layouts, Index step) : layout(layouts.tiles({64, 64, step, {0}})) {}
  const Tiles* tiles() const override { return layout.get(); }
  std::shared_ptr<const Tiles> layout;
};

struct SmallPlan final : CachedPlan {};

class PlanCacheTest : public testing::Test {
 protected:
  // The plan of a key and of a layout, and whether it was made now.
  std::pair<std::shared_ptr<const TestPlan>, bool> get(Index key, Index step) {
    bool made = false;
    auto plan = cache_.get<TestPlan>(PlanKey(key, step), [&] {
      made = true;
      return std::make_shared<TestPlan>(cache_.layouts(), step);
    });
    return {std::move(plan), made};
  }

  const Csr csr_ = real_weights(64, 64, 0.5, 6).csr();
  PlanCache cache_{csr_.impl()};
};

TEST_F(PlanCacheTest, KeepsPlansOfTwoLayouts) {
  EXPECT_TRUE(get(0, 1).second);
  EXPECT_TRUE(get(0, 2).second);
  EXPECT_FALSE(get(0, 1).second);
  const Index two = cache_.layouts().bytes();
  for (Index step = 3; step <= 40; ++step) EXPECT_TRUE(get(0, step).second);
  EXPECT_LE(cache_.layouts().bytes(), two);
  EXPECT_FALSE(get(0, 40).second);
  EXPECT_FALSE(get(0, 39).second);
  EXPECT_TRUE(get(0, 1).second);
}

TEST_F(PlanCacheTest, PlansThatShareALayoutAreKeptTogether) {
  for (Index key = 0; key < 8; ++key) EXPECT_TRUE(get(key, 1).second);
  for (Index key = 0; key < 8; ++key) EXPECT_FALSE(get(key, 1).second);
  EXPECT_TRUE(get(8, 1).second);
  EXPECT_TRUE(get(0, 1).second) << "the one used longest ago went";
}

TEST_F(PlanCacheTest, APlanInUseOutlivesItsPlace) {
  const auto held = get(0, 1).first;
  for (Index step = 2; step <= 4; ++step) get(0, step);
  EXPECT_EQ(held->layout->row_end(held->layout->count() - 1), 64);
}

TEST_F(PlanCacheTest, KeysOfAnotherLengthAreOthers) {
  const auto small = cache_.get<SmallPlan>(PlanKey(Index{0}), [] { return std::make_shared<SmallPlan>(); });
  EXPECT_TRUE(get(0, 0).second);
  EXPECT_EQ(cache_.get<SmallPlan>(PlanKey(Index{0}), [] { return std::make_shared<SmallPlan>(); }), small);
}

}  // namespace
}  // namespace sparse_engine
