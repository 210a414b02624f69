// Recurrent layers over a whole sequence: the product with the last hidden state on sparse weights, the gates fused after it.
#pragma once

#include "sparse_engine/matrix.hpp"
#include "sparse_engine/types.hpp"

namespace sparse_engine {

// One direction of one layer. `gates` (steps, batch, gates · hidden), contiguous, is what the inputs contribute, W_ih · x and
// the biases in torch's order; it is overwritten. `h` and, for an LSTM, `c` (batch, hidden), contiguous, are the state before
// the first step and then after the last. Element (t, b, j) of the result is y[t * y_step_stride + b * y_row_stride + j].
struct Sequence {
  Index steps, batch, hidden;
  bool backwards;  // from the last step to the first
  float* gates;
  float* h;
  float* c;  // null for a GRU
  float* y;
  Index y_step_stride, y_row_stride;
};

// W (4 · hidden, hidden): gates i, f, g, o; both biases are in `gates`.
// Throws std::invalid_argument: sizes that do not match.
// Source: Hochreiter and Schmidhuber, 1997.
void lstm(const Matrix& w, const Sequence& s);

// W (3 · hidden, hidden): gates r, z, n. `bias` (3 · hidden) of the recurrent product, or null; the input's is in `gates`.
// Source: Cho et al., 2014.
void gru(const Matrix& w, const float* bias, const Sequence& s);

}  // namespace sparse_engine
