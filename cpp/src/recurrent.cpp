#include "sparse_engine/recurrent.hpp"

#include <algorithm>

#include "check.hpp"
#include "registry.hpp"
#include "sparse_engine/linear.hpp"
#include "work.hpp"

namespace sparse_engine {
namespace {

void check_sizes(const Matrix& w, const Sequence& s, Index gates) {
  check(s.steps >= 0 && s.batch >= 0 && s.hidden >= 0, "a sequence of ", s.steps, " steps × ", s.batch, " × ", s.hidden,
        " has a negative size");
  check(w.rows() == checked_mul(gates, s.hidden, "gates") && w.cols() == s.hidden, "W has shape (", w.rows(), ", ", w.cols(),
        "); ", s.hidden, " hidden units with ", gates, " gates need (", gates * s.hidden, ", ", s.hidden, ")");
  checked_mul(checked_mul(s.steps, s.batch, "gates"), w.rows(), "gates");
}

template <class Step>
void for_each_step(const Sequence& s, const Step& step) {
  for (Index i = 0; i < s.steps; ++i) step(s.backwards ? s.steps - 1 - i : i);
}

}  // namespace

void lstm(const Matrix& w, const Sequence& s) {
  check_sizes(w, s, 4);
  const Kernels& table = kernels();
  const Index width = 4 * s.hidden;
  for_each_step(s, [&](Index t) {
    float* gates = s.gates + t * s.batch * width;
    linear({s.h, s.batch, s.hidden, s.hidden, 1}, w, {.residual = gates}, {gates, s.batch, width, width, 1});
    for (Index b = 0; b < s.batch; ++b)
      table.lstm_cell({.gates = gates + b * width,
                       .hidden = s.hidden,
                       .c = s.c + b * s.hidden,
                       .h = s.h + b * s.hidden,
                       .y = s.y + t * s.y_step_stride + b * s.y_row_stride});
  });
}

void gru(const Matrix& w, const float* bias, const Sequence& s) {
  check_sizes(w, s, 3);
  const Kernels& table = kernels();
  const Index width = 3 * s.hidden;
  float* recurrent = room(Room::gates, checked_mul(s.batch, width, "gates"));
  for_each_step(s, [&](Index t) {
    linear({s.h, s.batch, s.hidden, s.hidden, 1}, w, {.bias = bias}, {recurrent, s.batch, width, width, 1});
    for (Index b = 0; b < s.batch; ++b)
      table.gru_cell({.gates = s.gates + (t * s.batch + b) * width,
                      .recurrent = recurrent + b * width,
                      .hidden = s.hidden,
                      .h = s.h + b * s.hidden,
                      .y = s.y + t * s.y_step_stride + b * s.y_row_stride});
  });
}

}  // namespace sparse_engine
