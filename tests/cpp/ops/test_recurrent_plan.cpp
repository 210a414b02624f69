// What plans of recurrent layers promise: a workspace of the size they say, the same bits whatever it held, no allocations.
#include "ops/recurrent_plan.hpp"

#include <vector>

#include "base/registry.hpp"
#include "reference.hpp"
#include "reference_plan.hpp"
#include "sparse_engine/runtime.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

struct Case {
  Index steps, batch, hidden;
};
// One sequence and several in a team, more than gemv takes, and units that no block divides.
const std::vector<Case> kCases = {{4, 1, 32}, {3, 3, 40}, {3, 9, 32}, {2, 1, 33}};

// h, then y.
std::vector<float> run_checked(const RecurrentPlan& plan, Cell cell, const Case& k, const std::vector<float>& gates,
                               float filled) {
  std::vector<float> all = gates, h = reals(k.batch * k.hidden, 62), c = reals(k.batch * k.hidden, 63),
                     y(k.steps * k.batch * k.hidden, kNaN);
  const std::vector<float> bias = reals(3 * k.hidden, 64);
  Guarded<float> workspace(std::vector<float>(plan.workspace_bytes() / sizeof(float), filled), Flush::end);
  const Sequence s{.steps = k.steps,
                   .batch = k.batch,
                   .hidden = k.hidden,
                   .backwards = false,
                   .gates = all.data(),
                   .h = h.data(),
                   .c = cell == Cell::lstm ? c.data() : nullptr,
                   .y = y.data(),
                   .y_step_stride = k.batch * k.hidden,
                   .y_row_stride = k.hidden};
  const Index before = allocations;
  plan.run(s, cell == Cell::gru ? bias.data() : nullptr, workspace.data());
  EXPECT_TRUE(allocations == before || thread_backend() == "std");
  EXPECT_TRUE(workspace.untouched());
  h.insert(h.end(), y.begin(), y.end());
  return h;
}

TEST(RecurrentPlan, StaysWithinItsWorkspaceAndComputesTheSameWhateverThatHeldOnAnyThreads) {
  for_each_isa([] {
    for (const Cell cell : {Cell::lstm, Cell::gru})
      for (const Case& k : kCases) {
        SCOPED_TRACE(testing::Message() << k.steps << " steps, batch " << k.batch << ", hidden " << k.hidden);
        const Weights w = real_weights(gates_of(cell) * k.hidden, k.hidden, 0.3, 61);
        const Csr csr = w.csr();
        const std::vector<float> gates = reals(k.steps * k.batch * gates_of(cell) * k.hidden, 65);
        std::vector<float> first;
        for (const int threads : {1, 3}) {
          const Threads used(threads);
          const auto plan = plan_recurrent(kernels(), csr, cell, k.batch, k.hidden, threads);
          for (const float filled : {kNaN, 1.0f}) {
            const std::vector<float> found = run_checked(*plan, cell, k, gates, filled);
            if (first.empty()) first = found;
            expect_same_bits(found, first);
          }
        }
        for (const float v : first) ASSERT_TRUE(std::isfinite(v));
      }
  });
}

TEST(RecurrentPlan, TakesMoreThreadsForMoreStepsInATeamOnly) {
  const Threads used(2);
  const Csr small = real_weights(4 * 64, 64, 0.9, 66).csr();
  EXPECT_EQ(recurrent_threads(small, 1, 1, 64), 1);
  EXPECT_EQ(recurrent_threads(small, 100, 9, 64), recurrent_threads(small, 1, 9, 64));
}

}  // namespace
}  // namespace sparse_engine
