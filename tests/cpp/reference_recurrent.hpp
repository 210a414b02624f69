// A recurrent layer over a sequence as its equations say.
#pragma once

#include <cmath>
#include <vector>

#include "base/tuning.hpp"
#include "ops/recurrent_sequence.hpp"
#include "reference.hpp"

namespace sparse_engine::reference {

// Every step is shared by threads, however short, or none is, for the length of a scope.
struct SharedSteps {
  explicit SharedSteps(bool shared) {
    Tuning changed = before;
    changed.shared_step = shared ? 0 : std::numeric_limits<Index>::max();
    set_tuning(changed);
  }
  ~SharedSteps() { set_tuning(before); }
  SharedSteps(const SharedSteps&) = delete;
  SharedSteps& operator=(const SharedSteps&) = delete;
  const Tuning before = tuning();
};

inline double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

struct RecurrentInputs {
  std::vector<float> x, state, bias;
};

inline RecurrentInputs recurrent_inputs(const RecurrentShape& s) {
  const Index gates = gates_of(s.cell), states = s.cell == Cell::lstm ? 2 : 1;
  return {reals(s.steps * s.batch * s.directions * gates * s.hidden, 71),
          reals(s.has_state ? states * s.directions * s.batch * s.hidden : 0, 72), reals(s.directions * gates * s.hidden, 73)};
}

inline Index steps_of_y(const RecurrentShape& s) { return s.steps + (s.keeps_cells ? 1 : 0); }

// y in float64.
inline std::vector<double> recurrent_sequence(const RecurrentShape& s, const Weights& w, const RecurrentInputs& in) {
  const Index gates = gates_of(s.cell), width = s.directions * gates * s.hidden, row = s.directions * s.hidden;
  std::vector<double> y(steps_of_y(s) * s.batch * row);
  const auto at = [&](Index steps, Index t, Index b) { return s.batch_first ? b * steps + t : t * s.batch + b; };
  for (Index d = 0; d < s.directions; ++d)
    for (Index b = 0; b < s.batch; ++b) {
      std::vector<double> h(s.hidden), c(s.hidden);
      if (s.has_state)
        for (Index j = 0; j < s.hidden; ++j) {
          h[j] = in.state[(d * s.batch + b) * s.hidden + j];
          if (s.cell == Cell::lstm) c[j] = in.state[((s.directions + d) * s.batch + b) * s.hidden + j];
        }
      for (Index i = 0; i < s.steps; ++i) {
        const Index t = d == 1 ? s.steps - 1 - i : i;
        const float* const x = in.x.data() + at(s.steps, t, b) * width + d * gates * s.hidden;
        std::vector<double> of_h(gates * s.hidden);
        for (Index r = 0; r < gates * s.hidden; ++r) {
          of_h[r] = in.bias[d * gates * s.hidden + r];
          for (Index j = 0; j < s.hidden; ++j) of_h[r] += w.values[(d * gates * s.hidden + r) * s.hidden + j] * h[j];
        }
        for (Index j = 0; j < s.hidden; ++j) {
          const auto gate = [&](Index g) { return x[g * s.hidden + j] + of_h[g * s.hidden + j]; };
          if (s.cell == Cell::lstm) {
            c[j] = sigmoid(gate(1)) * c[j] + sigmoid(gate(0)) * std::tanh(gate(2));
            h[j] = sigmoid(gate(3)) * std::tanh(c[j]);
          } else {
            const double fresh = std::tanh(x[2 * s.hidden + j] + sigmoid(gate(0)) * of_h[2 * s.hidden + j]);
            h[j] = fresh + sigmoid(gate(1)) * (h[j] - fresh);
          }
          y[at(steps_of_y(s), t, b) * row + d * s.hidden + j] = h[j];
        }
      }
      if (s.keeps_cells)
        for (Index j = 0; j < s.hidden; ++j) y[at(steps_of_y(s), s.steps, b) * row + d * s.hidden + j] = c[j];
    }
  return y;
}

}  // namespace sparse_engine::reference
