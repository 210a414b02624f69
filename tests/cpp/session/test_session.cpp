#include "sparse_engine/session.hpp"

#include <thread>

#include "reference_recurrent.hpp"
#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Session, ComputesWhatTheProgramSaysAtEveryBatchAndNumberOfThreads) {
  for_each_isa([&] {
    for (const double density : {0.2, 1.0}) {
      const auto program = std::make_shared<Program>(residual_network(density));
      const ProgramParts parts = residual_network(density);
      const std::vector<float> x = integers(9 * 192, 91);
      for (const int threads : {1, 2, 3}) {
        Session session(program, threads);
        session.fill_arena(true);
        for (const Index batch : {1, 2, 3, 4, 6, 9}) {
          std::vector<float> y(batch * 5, kNaN);
          session.run(batch, {x.data()}, {y.data()});
          for (Index image = 0; image < batch; ++image) {
            const std::vector<double> expected = residual_network_of(parts, x.data() + image * 192);
            for (Index o = 0; o < 5; ++o)
              ASSERT_NEAR(y[image * 5 + o], expected[o], 1e-5 * (1 + std::abs(expected[o])))
                  << threads << " threads, batch " << batch << ", image " << image;
          }
        }
      }
    }
  });
}

// Of a program with one input and one output: several calls at once give the bits that each gives by itself.
void expect_as_alone(const std::shared_ptr<const Program>& program, const std::vector<Index>& sizes, int threads) {
  const Session session(program, threads);
  Session filled = session.with_threads(threads);
  filled.fill_arena(true);
  std::vector<float> x, y, expected;
  for (const Index size : sizes) {
    const std::vector<float> one = integers(program->elements(program->inputs()[0], size), 97 + size);
    std::vector<float> alone(program->elements(program->outputs()[0], size), kNaN);
    session.run(size, {one.data()}, {alone.data()});
    x.insert(x.end(), one.begin(), one.end());
    expected.insert(expected.end(), alone.begin(), alone.end());
  }
  y.assign(expected.size(), kNaN);
  filled.run_several(sizes, {x.data()}, {y.data()});
  expect_same_bits(y, expected);
}

// x (1, N, 24) → 3 × (1, N, 2, 8) → attention + x's first 16 features → the first token's → linear, beside the norm of all.
ProgramParts attending_network() {
  ProgramParts p;
  const std::vector<Size> heads = {{1}, kBatch, {2}, {8}}, features = {{1}, kBatch, {16}};
  p.values = {{"x", {{1}, kBatch, {24}}},
              {"qkv", {{1}, kBatch, {48}}},
              {"q", features},
              {"k", features},
              {"v", features},
              {"q heads", heads},
              {"k heads", heads},
              {"v heads", heads},
              {"attended", heads},
              {"flat", features},
              {"norm", features},
              {"epsilon", {}, 0},
              {"first", {{1}, {1}, {16}}},
              {"sum", features},
              {"positions", {{1}, {600}, {16}}, 1},
              {"place", features},
              {"y", features}};
  p.constants = {{1e-5f}, integers(600 * 16, 98)};
  const reference::Weights w = integer_weights(48, 24, 0.5, 99);
  p.weights = {compress(w.values.data(), 48, 24)};
  const auto node = [&](Operation operation, std::vector<Index> inputs, Index output, std::vector<Index> numbers) {
    p.nodes.push_back({.operation = operation,
                       .name = p.values[output].name,
                       .inputs = std::move(inputs),
                       .output = output,
                       .numbers = std::move(numbers)});
  };
  node(Operation::linear, {0}, 1, {});
  p.nodes.back().weight = 0;
  for (const Index i : {0, 1, 2}) {
    node(Operation::slice, {1}, 2 + i, {0, 1, 1, 0, -1, 1, 16 * i, 16 * i + 16, 1});
    node(Operation::reshape, {2 + i}, 5 + i, {});
  }
  node(Operation::attention, {5, 6, 7}, 8, {2, 2, 2, 2, 0});
  node(Operation::reshape, {8}, 9, {});
  node(Operation::layer_norm, {9, 11}, 10, {1});
  node(Operation::slice, {10}, 12, {0, 1, 1, 0, 1, 1, 0, 16, 1});
  node(Operation::add, {10, 12}, 13, {});
  node(Operation::prefix, {14}, 15, {});
  node(Operation::add, {13, 15}, 16, {});
  p.inputs = {0};
  p.outputs = {16};
  return p;
}

TEST(Session, GivesTheSameBitsForSeveralCallsAtOnce) {
  for_each_isa([&] {
    const auto attending = std::make_shared<Program>(attending_network()),
               residual = std::make_shared<Program>(residual_network()), moving = std::make_shared<Program>(moving_network());
    for (const int threads : {1, 2, 3}) {
      expect_as_alone(attending, {5, 1, 64, 7, 7, 0, 130}, threads);
      expect_as_alone(attending, {300, 200, 100, 500, 1, 2}, threads);  // more than run at once
      expect_as_alone(attending, {}, threads);
      expect_as_alone(residual, {2, 1, 4, 3}, threads);
      expect_as_alone(moving, {1, 2, 1, 5}, threads);
    }
  });
}

TEST(Session, RefusesSizesBelowZeroAmongSeveral) {
  const Session session(std::make_shared<Program>(moving_network()), 1);
  std::vector<float> x(1000), y(1000);
  EXPECT_THROW(session.run_several({2, -1}, {x.data()}, {y.data()}), std::invalid_argument);
  EXPECT_THROW(session.run_several({2, 1}, {}, {y.data()}), std::invalid_argument);
}

TEST(Session, MovesElementsAsTheProgramSays) {
  const auto program = std::make_shared<Program>(moving_network());
  const std::vector<float> x = integers(5 * 120, 94);
  for (const int threads : {1, 2, 3}) {
    Session session(program, threads);
    session.fill_arena(true);
    for (const Index batch : {1, 2, 3, 4, 5}) {
      std::vector<float> y(batch * 60, kNaN), expected;
      session.run(batch, {x.data()}, {y.data()});
      for (Index image = 0; image < batch; ++image) {
        const std::vector<float> one = moving_network_of(x.data() + image * 120);
        expected.insert(expected.end(), one.begin(), one.end());
      }
      expect_same_bits(y, expected);
    }
  }
}

// x (4, N, …) and a state → LSTM of two directions with its cell states after it, and z (N, 3, …) → GRU.
TEST(Session, GoesThroughSequencesAtEveryBatchAndNumberOfThreads) {
  for_each_isa([&] {
    for (const Index hidden : {24, 33, 160})
      for (const double density : {0.2, 1.0}) {
        const Weights lstm = real_weights(8 * hidden, hidden, density / std::sqrt(hidden), 95);
        const Weights gru = real_weights(3 * hidden, hidden, density, 96);
        ProgramParts p;
        p.values = {{"x", {{4}, kBatch, {8 * hidden}}},
                    {"state", {{4}, kBatch, {hidden}}},
                    {"z", {kBatch, {3}, {3 * hidden}}},
                    {"y", {{5}, kBatch, {2 * hidden}}},
                    {"u", {kBatch, {3}, {hidden}}}};
        p.weights = {compress(lstm.values.data(), lstm.rows, lstm.cols), compress(gru.values.data(), gru.rows, gru.cols)};
        p.constants = {reals(8 * hidden, 73), reals(3 * hidden, 73)};
        p.nodes = {
            {.operation = Operation::lstm,
             .name = "lstm",
             .inputs = {0, 1},
             .output = 3,
             .weight = 0,
             .bias = 0,
             .numbers = {1, 1}},
            {.operation = Operation::gru, .name = "gru", .inputs = {2}, .output = 4, .weight = 1, .bias = 1, .numbers = {0}}};
        p.inputs = {0, 1, 2};
        p.outputs = {3, 4};
        const auto program = std::make_shared<Program>(std::move(p));
        for (const Index batch : {1, 2, 5, 9}) {
          const RecurrentShape first{.cell = Cell::lstm,
                                     .steps = 4,
                                     .batch = batch,
                                     .hidden = hidden,
                                     .directions = 2,
                                     .batch_first = false,
                                     .has_state = true,
                                     .keeps_cells = true};
          const RecurrentShape second{.cell = Cell::gru,
                                      .steps = 3,
                                      .batch = batch,
                                      .hidden = hidden,
                                      .directions = 1,
                                      .batch_first = true,
                                      .has_state = false,
                                      .keeps_cells = false};
          const RecurrentInputs a = recurrent_inputs(first), b = recurrent_inputs(second);
          const std::vector<double> y = recurrent_sequence(first, lstm, a), u = recurrent_sequence(second, gru, b);
          std::vector<float> before;
          const SharedSteps shared(true);
          for (const int threads : {1, 2, 3}) {
            Session session(program, threads);
            session.fill_arena(true);
            std::vector<float> found(y.size(), kNaN), other(u.size(), kNaN);
            session.run(batch, {a.x.data(), a.state.data(), b.x.data()}, {found.data(), other.data()});
            for (std::size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(found[i], y[i], 2e-5) << hidden << " units, batch " << batch;
            for (std::size_t i = 0; i < u.size(); ++i) ASSERT_NEAR(other[i], u[i], 2e-5) << hidden << " units, batch " << batch;
            found.insert(found.end(), other.begin(), other.end());
            if (before.empty()) before = found;
            expect_same_bits(found, before);
          }
        }
      }
  });
}

TEST(Session, ServesCallersAtOnce) {
  const Session session(std::make_shared<Program>(residual_network()), 2);
  const std::vector<float> x = integers(4 * 192, 92);
  std::vector<float> expected(20);
  session.run(4, {x.data()}, {expected.data()});
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int caller = 0; caller < 3; ++caller)
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 50; ++repeat) {
        std::vector<float> y(20, kNaN);
        session.run(4, {x.data()}, {y.data()});
        wrong += y != expected;
      }
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Session, SharesWeightsAmongNumbersOfThreads) {
  const Session one(std::make_shared<Program>(residual_network()), 1), two = one.with_threads(2);
  EXPECT_EQ(two.threads(), 2);
  EXPECT_EQ(&one.program(), &two.program());
  EXPECT_GT(one.arena_bytes(1), 0);
  EXPECT_EQ(one.weight_bytes(), two.weight_bytes());
}

TEST(Session, TellsWhatEveryNodeTook) {
  const Session session(std::make_shared<Program>(residual_network()), 2);
  const std::vector<float> x = integers(4 * 192, 93);
  std::vector<float> y(20);
  const std::vector<NodeProfile> rows = session.profile(4, {x.data()}, {y.data()});
  ASSERT_EQ(rows.size(), 4);
  EXPECT_EQ(rows[0].runs, 4);
  EXPECT_EQ(rows[3].runs, 1);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].node, static_cast<Index>(i));
    EXPECT_GT(rows[i].seconds, 0);
    EXPECT_GT(rows[i].bytes, 0);
  }
}

TEST(Session, RefusesCallsThatDoNotFit) {
  const auto program = std::make_shared<Program>(residual_network());
  EXPECT_REFUSED(Session(program, -1), "threads is -1");
  const Session session(program, 1);
  float y[5];
  EXPECT_REFUSED(session.run(-1, {y}, {y}), "batch is -1");
  EXPECT_REFUSED(session.run(1, {}, {y}), "1 inputs; 0 were given");
  EXPECT_REFUSED(session.run(1, {y}, {}), "1 outputs; 0 were given");
  EXPECT_REFUSED(session.profile(0, {y}, {y}), "nothing to time");
  EXPECT_REFUSED(session.arena_bytes(0), "at least 1");
  session.run(0, {nullptr}, {nullptr});
}

}  // namespace
}  // namespace sparse_engine
