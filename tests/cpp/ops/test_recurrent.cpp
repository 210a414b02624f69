#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "reference.hpp"
#include "sparse_engine/recurrent.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

struct Case {
  Index steps, batch, hidden;
  bool backwards;
};
const std::vector<Case> kCases = {{0, 2, 5, false}, {3, 0, 5, false},  {1, 1, 1, false}, {4, 1, 7, false},  {4, 1, 33, true},
                                  {3, 2, 8, true},  {3, 5, 17, false}, {2, 9, 40, true}, {5, 1, 600, false}};

// The same recurrence in double precision; gates are those of the inputs, y (steps, batch, hidden).
struct Exact {
  std::vector<double> h, c, y;
};

template <class Cell>
Exact exactly(const Case& k, const std::vector<float>& w, Index gates, const std::vector<float>& h, const std::vector<float>& c,
              const Cell& cell) {
  Exact e{{h.begin(), h.end()}, {c.begin(), c.end()}, std::vector<double>(k.steps * k.batch * k.hidden)};
  for (Index i = 0; i < k.steps; ++i) {
    const Index t = k.backwards ? k.steps - 1 - i : i;
    for (Index b = 0; b < k.batch; ++b) {
      std::vector<double> product(gates * k.hidden);
      for (Index r = 0; r < gates * k.hidden; ++r)
        for (Index j = 0; j < k.hidden; ++j) product[r] += static_cast<double>(w[r * k.hidden + j]) * e.h[b * k.hidden + j];
      for (Index j = 0; j < k.hidden; ++j) cell(e, t, b, j, product);
    }
  }
  return e;
}

// Gates are sums of many products of order one; their roundings go through functions with slopes up to one, step after step.
void expect_near(const std::vector<float>& got, const std::vector<double>& exact, Index hidden) {
  ASSERT_EQ(got.size(), exact.size());
  for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], exact[i], hidden > 100 ? 2e-5 : 2e-6) << i;
}

template <class Run, class Cell>
void check_every_case(Index gates, const Run& run, const Cell& cell) {
  for_each_isa([&] {
    for (const Case& k : kCases)
      for (const int threads : {1, 3}) {
        SCOPED_TRACE(testing::Message() << k.steps << " steps, batch " << k.batch << ", hidden " << k.hidden);
        const Threads used(threads);
        const Weights w = real_weights(gates * k.hidden, k.hidden, 0.3, 1);
        std::vector<float> dense(gates * k.hidden * k.hidden);
        const Csr csr = w.csr();
        csr.to_dense(dense.data());
        const std::vector<float> inputs = reals(k.steps * k.batch * gates * k.hidden, 2);
        std::vector<float> g = inputs, h = reals(k.batch * k.hidden, 3), c = reals(k.batch * k.hidden, 4);
        const Exact e = exactly(k, dense, gates, h, c, [&](Exact& state, Index t, Index b, Index j, const auto& product) {
          cell(state, k, inputs.data() + (t * k.batch + b) * gates * k.hidden, t, b, j, product);
        });
        // y lies in every other half of wider rows, as one direction of two does.
        std::vector<float> wide(k.steps * k.batch * 2 * k.hidden, kNaN), y;
        run(csr, Sequence{k.steps, k.batch, k.hidden, k.backwards, g.data(), h.data(), c.data(), wide.data() + k.hidden,
                          k.batch * 2 * k.hidden, 2 * k.hidden});
        for (Index i = 0; i < k.steps * k.batch; ++i)
          for (Index j = 0; j < k.hidden; ++j) {
            ASSERT_TRUE(std::isnan(wide[i * 2 * k.hidden + j]));
            y.push_back(wide[i * 2 * k.hidden + k.hidden + j]);
          }
        expect_near(y, e.y, k.hidden);
        expect_near(h, e.h, k.hidden);
        if (gates == 4) expect_near(c, e.c, k.hidden);
        if (testing::Test::HasFatalFailure()) return;
      }
  });
}

TEST(Recurrent, LstmFollowsItsEquations) {
  check_every_case(
      4, [](const Matrix& w, const Sequence& s) { lstm(w, s); },
      [](Exact& e, const Case& k, const float* x, Index t, Index b, Index j, const std::vector<double>& product) {
        const auto gate = [&](Index g) { return x[g * k.hidden + j] + product[g * k.hidden + j]; };
        double& c = e.c[b * k.hidden + j];
        c = sigmoid(gate(1)) * c + sigmoid(gate(0)) * std::tanh(gate(2));
        e.h[b * k.hidden + j] = e.y[(t * k.batch + b) * k.hidden + j] = sigmoid(gate(3)) * std::tanh(c);
      });
}

TEST(Recurrent, GruFollowsItsEquations) {
  check_every_case(
      3,
      [](const Matrix& w, const Sequence& s) {
        const std::vector<float> bias = reals(w.rows(), 9);
        gru(w, bias.data(), s);
      },
      [](Exact& e, const Case& k, const float* x, Index t, Index b, Index j, const std::vector<double>& product) {
        const std::vector<float> bias = reals(3 * k.hidden, 9);
        const auto of_h = [&](Index g) { return product[g * k.hidden + j] + bias[g * k.hidden + j]; };
        const auto of_x = [&](Index g) { return static_cast<double>(x[g * k.hidden + j]); };
        double& h = e.h[b * k.hidden + j];
        const double reset = sigmoid(of_x(0) + of_h(0)), update = sigmoid(of_x(1) + of_h(1));
        const double fresh = std::tanh(of_x(2) + reset * of_h(2));
        h = e.y[(t * k.batch + b) * k.hidden + j] = (1 - update) * fresh + update * h;
      });
}

// One run of `w` over a sequence: y, h and c, one after the other.
std::vector<float> sequence(const Matrix& w, const Case& k) {
  const Index gates = w.rows() / k.hidden;
  std::vector<float> g = reals(k.steps * k.batch * w.rows(), 2), y(k.steps * k.batch * k.hidden, kNaN);
  std::vector<float> h = reals(k.batch * k.hidden, 3), c = reals(k.batch * k.hidden, 4);
  const Sequence s{k.steps,  k.batch,  k.hidden, k.backwards,        g.data(),
                   h.data(), c.data(), y.data(), k.batch * k.hidden, k.hidden};
  const std::vector<float> bias = reals(w.rows(), 9);
  if (gates == 4)
    lstm(w, s);
  else
    gru(w, bias.data(), s);
  y.insert(y.end(), h.begin(), h.end());
  y.insert(y.end(), c.begin(), c.end());
  return y;
}

TEST(Recurrent, GivesTheSameBitsForAnyNumberOfThreads) {
  for_each_isa([&] {
    for (const Index gates : {3, 4})
      for (const Case& k : {Case{9, 1, 600, false}, Case{4, 3, 333, true}, Case{3, 8, 160, false}, Case{3, 9, 160, false}}) {
        const Csr w = real_weights(gates * k.hidden, k.hidden, 0.5, 1).csr();
        std::vector<float> alone;
        for (const int threads : {1, 2, 3, 7}) {
          const Threads used(threads);
          const std::vector<float> got = sequence(w, k);
          if (threads == 1) alone = got;
          ASSERT_EQ(got, alone) << threads << " threads, " << k.hidden << " units, batch " << k.batch;
        }
      }
  });
}

TEST(Recurrent, TakesEveryFormat) {
  for (const Index gates : {3, 4})
    for (const Case& k : {Case{5, 1, 328, false}, Case{4, 2, 40, true}, Case{3, 1, 36, false}, Case{3, 1, 7, false}})
      for (const int threads : {1, 3}) {
        const Threads used(threads);
        const Index rows = gates * k.hidden;
        std::vector<float> dense = reals(rows * k.hidden, 5);
        for (Index i = 0; i < rows; ++i)
          for (Index j = 0; j < k.hidden; ++j)  // strips of four rows, two of four columns, whatever the format
            dense[i * k.hidden + j] = (i / 4 + j) % 2 == 0 && j / 4 * 4 + 4 <= k.hidden ? dense[i * k.hidden + j] / 8 : 0;
        const std::vector<float> expected = sequence(Csr::from_dense(dense.data(), rows, k.hidden), k);
        const auto expect_same = [&](const Matrix& w, const char* format) {
          const std::vector<float> got = sequence(w, k);
          for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], 2e-6) << format << " " << i;
        };
        expect_same(Bitmask::from_dense(dense.data(), rows, k.hidden), "bitmask");
        if (rows % 4 == 0) expect_same(Bsr::from_dense(dense.data(), rows, k.hidden, {4, 1}), "bsr");
        if (k.hidden % 4 == 0) expect_same(Nm::from_dense(dense.data(), rows, k.hidden, {2, 4}), "nm");
      }
}

TEST(Recurrent, RefusesWeightsOfAnotherSize) {
  const Csr w = real_weights(12, 4, 0.5, 1).csr();
  std::vector<float> room(64);
  const Sequence s{1, 1, 4, false, room.data(), room.data(), room.data(), room.data(), 4, 4};
  EXPECT_THROW(lstm(w, s), std::invalid_argument);
  EXPECT_NO_THROW(gru(w, nullptr, s));
  Sequence wrong = s;
  wrong.hidden = 3;
  EXPECT_THROW(gru(w, nullptr, wrong), std::invalid_argument);
  wrong.hidden = -4;
  EXPECT_THROW(gru(w, nullptr, wrong), std::invalid_argument);
}

}  // namespace
}  // namespace sparse_engine
