// One time step of LSTM and GRU cells from their gates, against float64.
#include <cmath>

#include "base/registry.hpp"
#include "kernels/table.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

constexpr double kTolerance = 1e-6;  // what the kernels' header promises, relative to |c| + 1 and to 1

// Gates between −`reach` and `reach`: large ones are where sigmoid and tanh are flat.
std::vector<float> gates(Index count, float reach, std::uint64_t seed) {
  std::vector<float> values = reals(count, seed);
  for (float& v : values) v *= reach;
  return values;
}

struct Units {
  Index hidden, first, count;  // computed are `count` from `first` on
};

std::vector<Units> units() {
  std::vector<Units> all;
  for (Index hidden = 1; hidden <= 35; ++hidden) all.push_back({hidden, 0, hidden});
  for (const Units& part : {Units{40, 0, 7}, {40, 8, 32}, {40, 33, 7}, {20, 19, 1}, {20, 5, 0}}) all.push_back(part);
  return all;
}

template <class Step>
void for_every_part(const Step& step) {
  for_each_isa([&] {
    for (const Units& u : units())
      for (const float reach : {1.0f, 8.0f, 100.0f})
        for (const Flush side : {Flush::beginning, Flush::end}) {
          SCOPED_TRACE(std::to_string(u.count) + " of " + std::to_string(u.hidden) + " units from " + std::to_string(u.first) +
                       " on, gates up to " + std::to_string(reach));
          step(u, reach, side);
          if (testing::Test::HasFatalFailure()) return;
        }
  });
}

TEST(RecurrentKernels, AnLstmCellGoesFromItsGatesToTheNextState) {
  for_every_part([](const Units& u, float reach, Flush side) {
    const std::vector<float> g = gates(4 * u.hidden, reach, 81), before = gates(u.count, 3, 82);
    // Of the last gate nothing lies past the units computed.
    Guarded<float> read(std::span<const float>(g).first(3 * u.hidden + u.first + u.count), side);
    Guarded<float> c(before, side), h(std::vector<float>(u.count, kNaN), side), y(std::vector<float>(u.count, kNaN), side);
    kernels().lstm_cell({read.data() + u.first, u.hidden, u.count, c.data(), h.data(), y.data()});
    ASSERT_TRUE(read.untouched() && c.untouched() && h.untouched() && y.untouched());
    for (Index i = 0; i < u.count; ++i) {
      const auto gate = [&](Index which) { return double{g[which * u.hidden + u.first + i]}; };
      const double next = sigmoid(gate(1)) * before[i] + sigmoid(gate(0)) * std::tanh(gate(2));
      ASSERT_NEAR(c.data()[i], next, kTolerance * (std::abs(next) + 1)) << "unit " << i;
      ASSERT_NEAR(h.data()[i], sigmoid(gate(3)) * std::tanh(next), kTolerance) << "unit " << i;
      ASSERT_EQ(y.data()[i], h.data()[i]);
    }
  });
}

TEST(RecurrentKernels, AGruCellGoesFromItsGatesToTheNextState) {
  for_every_part([](const Units& u, float reach, Flush side) {
    const std::vector<float> of_x = gates(3 * u.hidden, reach, 83), of_h = gates(3 * u.hidden, reach, 84);
    const std::vector<float> before = gates(u.count, 1, 85);
    const Index read = 2 * u.hidden + u.first + u.count;
    Guarded<float> x(std::span<const float>(of_x).first(read), side), recurrent(std::span<const float>(of_h).first(read), side);
    Guarded<float> h(before, side), y(std::vector<float>(u.count, kNaN), side);
    kernels().gru_cell({x.data() + u.first, recurrent.data() + u.first, u.hidden, u.count, h.data(), y.data()});
    ASSERT_TRUE(x.untouched() && recurrent.untouched() && h.untouched() && y.untouched());
    for (Index i = 0; i < u.count; ++i) {
      const auto at = [&](const std::vector<float>& from, Index which) { return double{from[which * u.hidden + u.first + i]}; };
      const double reset = sigmoid(at(of_x, 0) + at(of_h, 0)), update = sigmoid(at(of_x, 1) + at(of_h, 1));
      // The sums are rounded before a smooth function takes them: half a unit in the last place of up to 200 and 10,000.
      const double inside = at(of_x, 2) + reset * at(of_h, 2), fresh = std::tanh(inside);
      const double rounding =
          0x1p-24 * (std::abs(at(of_x, 0) + at(of_h, 0)) + std::abs(at(of_x, 1) + at(of_h, 1)) + std::abs(inside));
      const double slope = std::abs(at(of_h, 2)) + 2;  // of the state by any of these
      const double next = (1 - update) * fresh + update * before[i];
      ASSERT_NEAR(h.data()[i], next, kTolerance + rounding * slope) << "unit " << i;
      ASSERT_EQ(y.data()[i], h.data()[i]);
    }
  });
}

TEST(RecurrentKernels, KeepAndForgetExactlyWhereGatesAreSaturated) {
  for_each_isa([] {
    constexpr Index kHidden = 11;
    const std::vector<float> before = reals(kHidden, 86);
    std::vector<float> g(4 * kHidden, 200.0f), c = before, h(kHidden), y(kHidden);
    for (Index i = 0; i < kHidden; ++i) g[i] = -200;  // nothing comes in, all is kept
    kernels().lstm_cell({g.data(), kHidden, kHidden, c.data(), h.data(), y.data()});
    expect_same_bits(c, before);

    std::vector<float> of_x(3 * kHidden, 200.0f), of_h(3 * kHidden), state = before;
    kernels().gru_cell({of_x.data(), of_h.data(), kHidden, kHidden, state.data(), y.data()});
    for (Index i = 0; i < kHidden; ++i) EXPECT_NEAR(state[i], before[i], 0x1p-23);
    for (Index i = 0; i < kHidden; ++i) of_x[kHidden + i] = -200;  // all is new, and that is tanh(200)
    kernels().gru_cell({of_x.data(), of_h.data(), kHidden, kHidden, state.data(), y.data()});
    expect_same_bits(state, std::vector<float>(kHidden, 1));
  });
}

}  // namespace
}  // namespace sparse_engine
