#include "ops/recurrent_sequence.hpp"

#include <vector>

#include "base/registry.hpp"
#include "reference_plan.hpp"
#include "reference_recurrent.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// One chain and several, units that are cut and units that are not, more sequences than a chain takes.
const std::vector<RecurrentShape> kShapes = {
    {.steps = 1, .batch = 1, .hidden = 1, .directions = 1, .has_state = true, .keeps_cells = true},
    {.steps = 4, .batch = 1, .hidden = 96, .directions = 1, .has_state = false, .keeps_cells = false},
    {.steps = 3, .batch = 2, .hidden = 40, .directions = 2, .batch_first = true, .has_state = true, .keeps_cells = true},
    {.steps = 3, .batch = 5, .hidden = 33, .directions = 2, .has_state = true, .keeps_cells = false},
    {.steps = 2, .batch = 9, .hidden = 64, .directions = 1, .batch_first = true, .has_state = false, .keeps_cells = true},
    {.steps = 2, .batch = 17, .hidden = 24, .directions = 2, .has_state = true, .keeps_cells = true}};

TEST(RecurrentSequence, FollowsItsEquationsWithTheSameBitsOnAnyThreads) {
  for_each_isa([] {
    for (const Cell cell : {Cell::lstm, Cell::gru})
      for (RecurrentShape s : kShapes) {
        s.cell = cell;
        if (cell == Cell::gru) s.keeps_cells = false;
        SCOPED_TRACE(testing::Message() << s.steps << " steps, batch " << s.batch << ", hidden " << s.hidden);
        const Weights w = real_weights(s.directions * gates_of(cell) * s.hidden, s.hidden, 0.3, 70);
        const Csr csr = w.csr();
        const RecurrentInputs in = recurrent_inputs(s);
        const std::vector<double> expected = recurrent_sequence(s, w, in);
        std::vector<float> first;
        for (const int threads : {1, 2, 3, -3}) {
          const SharedSteps shared(threads > 0);
          const auto plan = plan_recurrent_sequence(kernels(), csr, s, std::abs(threads));
          const std::vector<float> y = checked_run(
              *plan, {.x = in.x.data(), .y = nullptr, .epilogue = {.bias = in.bias.data()}, .second = in.state.data()},
              static_cast<Index>(expected.size()));
          if (first.empty()) first = y;
          expect_same_bits(y, first);
        }
        for (std::size_t i = 0; i < first.size(); ++i) ASSERT_NEAR(first[i], expected[i], 5e-6) << i;
      }
  });
}

TEST(RecurrentSequence, TakesEveryFormatThatASessionGivesIt) {
  const RecurrentShape s{
      .cell = Cell::lstm, .steps = 3, .batch = 3, .hidden = 64, .directions = 2, .has_state = true, .keeps_cells = true};
  const Weights w = real_weights(s.directions * 4 * s.hidden, s.hidden, 0.9, 74);
  const RecurrentInputs in = recurrent_inputs(s);
  const std::vector<double> expected = recurrent_sequence(s, w, in);
  const auto expect_near = [&](const Matrix& matrix) {
    for (const int threads : {1, 3}) {
      const SharedSteps shared(true);
      const auto plan = plan_recurrent_sequence(kernels(), matrix, s, threads);
      const std::vector<float> y =
          checked_run(*plan, {.x = in.x.data(), .y = nullptr, .epilogue = {.bias = in.bias.data()}, .second = in.state.data()},
                      static_cast<Index>(expected.size()));
      for (std::size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 5e-6) << i;
    }
  };
  expect_near(Bitmask::from_dense(w.values.data(), w.rows, w.cols));
  expect_near(Bsr::from_dense(w.values.data(), w.rows, w.cols, {8, 8}));
}

TEST(RecurrentSequence, SharesStepsThatAreWorthItWhereChainsAreFew) {
  const Csr csr = real_weights(4 * 64, 64, 0.5, 76).csr();
  const auto tasks = [&](Index batch, bool shared) {
    const SharedSteps used(shared);
    return plan_recurrent_sequence(kernels(), csr,
                                   {.cell = Cell::lstm, .steps = 2, .batch = batch, .hidden = 64, .directions = 1}, 3)
        ->tasks();
  };
  EXPECT_EQ(tasks(1, true), 3);
  EXPECT_EQ(tasks(1, false), 1);
  EXPECT_EQ(tasks(24, true), 3) << "a chain for each thread";
  EXPECT_EQ(tasks(100, true), 13) << "enough chains";
}

TEST(RecurrentSequence, OfNobodyHasNoTasks) {
  const RecurrentShape s{.cell = Cell::gru, .steps = 3, .batch = 0, .hidden = 16, .directions = 1};
  EXPECT_EQ(plan_recurrent_sequence(kernels(), real_weights(48, 16, 0.5, 75).csr(), s, 2)->tasks(), 0);
}

}  // namespace
}  // namespace sparse_engine
