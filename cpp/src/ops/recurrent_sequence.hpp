// A plan of a recurrent layer over a whole sequence, both directions of it, for callers with threads of their own.
#pragma once

#include <memory>

#include "ops/plan.hpp"
#include "ops/recurrent_plan.hpp"

namespace sparse_engine {

struct RecurrentShape {
  Cell cell = Cell::lstm;
  Index steps = 1, batch = 0, hidden = 1;  // steps and hidden at least 1
  Index directions = 1;                    // 1, or 2: the second from the last step to the first
  bool batch_first = false;                // x and y (batch, steps, …), else (steps, batch, …)
  bool has_state = false;                  // before the first step; zeros otherwise
  bool keeps_cells = false;                // of an LSTM: y has one step more, the cell states after the last
};

// w (directions · gates · hidden, hidden), gates in torch's order; hidden is a multiple of its skinny_step(). Operands, all
// contiguous: x (…, directions · gates · hidden), the inputs' products; second (directions, batch, hidden), hidden states, then
// as many cell states; y (…, directions · hidden); the bias is that of the recurrent product, for every row of w.
std::shared_ptr<const Plan> plan_recurrent_sequence(const Kernels& table, const Matrix& w, const RecurrentShape& shape,
                                                    int threads);

}  // namespace sparse_engine
