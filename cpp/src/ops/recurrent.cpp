#include "sparse_engine/recurrent.hpp"

#include <algorithm>
#include <numeric>

#include "base/check.hpp"
#include "base/parallel.hpp"
#include "base/registry.hpp"
#include "base/workspace.hpp"
#include "ops/spmm/gemv_product.hpp"
#include "sparse_engine/linear.hpp"

namespace sparse_engine {
namespace {

void check_sizes(const Matrix& w, const Sequence& s, Index gates) {
  check(s.steps >= 0 && s.batch >= 0 && s.hidden >= 0, "a sequence of ", s.steps, " steps × ", s.batch, " × ", s.hidden,
        " has a negative size");
  check(w.rows() == checked_mul(gates, s.hidden, "gates") && w.cols() == s.hidden, "W has shape (", w.rows(), ", ", w.cols(),
        "); ", s.hidden, " hidden units with ", gates, " gates need (", gates * s.hidden, ", ", s.hidden, ")");
  checked_mul(checked_mul(s.steps, s.batch, "gates"), w.rows(), "gates");
}

// Step `i` in the order of time.
Index time_of(const Sequence& s, Index i) { return s.backwards ? s.steps - 1 - i : i; }

// Units that a worker takes at a time, in whole vectors of every instruction set and whole steps of the matrix; 0 where the
// rows of a gate do not begin at one.
Index unit_block(const Matrix& w, const Sequence& s) {
  const Index step = w.impl()->narrow_step();
  return s.hidden % step == 0 ? std::lcm(step, Index{16}) : 0;
}

// A barrier costs a quarter of what starting threads does, and they start once for all steps.
int workers_for(const Matrix& w, const Sequence& s) {
  const Index work = checked_mul(w.nnz() + w.rows(), std::max(s.batch, Tuning::threads.few_columns_worth), "work");
  return threads_for(checked_mul(work, std::min(s.steps, Index{4}), "work"));
}

// The product of every step.
struct StepPlan final : CachedPlan {
  StepPlan(const Kernels& table, const Matrix& w, Index batch) : product(table, w, batch) {}
  GemvProduct product;
};

// All steps in one team. What a worker computes of a step are all gates of some units and then these units' cells, so that one
// barrier a step is enough: h is packed for the next step in a panel that nobody reads in this one.
//
// `out` is where a step's product goes, `gates` apart, step_stride from one step to the next, on top of `residual`, which is
// null or the same place. cells(t, first, units) runs the cells of some units for the whole batch.
struct Product {
  const float* bias;
  bool adds;  // to what is there
  float* out;
  Index gates, step_stride;
};

template <class Cells>
void run_in_team(const Matrix& w, const Sequence& s, const Product& p, const Cells& cells) {
  const Kernels& table = kernels();
  const Index block = unit_block(w, s), blocks = (s.hidden + block - 1) / block, width = p.gates * s.hidden;
  const int threads = workers_for(w, s);
  const Index tasks = std::min(blocks, threads == 1 ? Index{1} : Index{4} * threads);
  const PlanKey key(reinterpret_cast<std::intptr_t>(&table), s.batch);
  const auto plan = w.plans().get<StepPlan>(key, [&] { return std::make_shared<StepPlan>(table, w, s.batch); });
  const GemvProduct& product = plan->product;
  const NarrowStrides& strides = product.strides();
  const Index panel = strides.floats;
  const Workspace workspace(checked_mul(checked_mul(panel, 2, "packed state"), sizeof(float), "packed state"));
  float* const packed = workspace.data();
  std::fill(packed, packed + 2 * panel, 0.0f);
  const auto pack = [&](float* target, Index first, Index last) {
    for (Index b = 0; b < s.batch; ++b)
      for (Index j = first; j < last; ++j) target[j * strides.row + b * strides.column] = s.h[b * s.hidden + j];
  };
  pack(packed, 0, s.hidden);
  // The tasks of even and of odd steps: the ones are laid out again while the others are worked on.
  parallel::Shares shares[] = {parallel::Shares(tasks, threads), parallel::Shares(tasks, threads)};
  parallel::team(threads, [&](int worker, parallel::Barrier& barrier) {
    for (Index i = 0; i < s.steps; ++i) {
      const Index t = time_of(s, i);
      const float* const now = packed + i % 2 * panel;
      float* const next = packed + (i + 1) % 2 * panel;
      float* const out = p.out + t * p.step_stride;
      if (worker == 0) shares[(i + 1) % 2].restart();
      shares[i % 2].work(worker, [&](Index task, int) {
        const Index first = blocks * task / tasks * block, last = std::min(s.hidden, blocks * (task + 1) / tasks * block);
        for (Index gate = 0; gate < p.gates; ++gate)
          product.multiply({.kernels = &table,
                            .row_begin = gate * s.hidden + first,
                            .row_end = gate * s.hidden + last,
                            .columns = s.batch,
                            .x = now,
                            .x_stride = strides.column,
                            .bias = p.bias,
                            .residual = p.adds ? out : nullptr,
                            .activation = Activation::none,
                            .y = out,
                            .y_row_stride = 1,
                            .y_column_stride = width});
        cells(table, t, first, last - first);
        pack(next, first, last);
      });
      barrier.wait();
    }
  });
}

// One product after the other, each with threads of its own: many columns, or a matrix whose rows are not cut at gates.
template <class Cells>
void run_step_by_step(const Matrix& w, const Sequence& s, const Product& p, const Cells& cells) {
  const Kernels& table = kernels();
  const Index width = p.gates * s.hidden;
  for (Index i = 0; i < s.steps; ++i) {
    const Index t = time_of(s, i);
    float* const out = p.out + t * p.step_stride;
    linear({s.h, s.batch, s.hidden, s.hidden, 1}, w, {.bias = p.bias, .residual = p.adds ? out : nullptr},
           {out, s.batch, width, width, 1});
    cells(table, t, 0, s.hidden);
  }
}

template <class Cells>
void run(const Matrix& w, const Sequence& s, const Product& p, const Cells& cells) {
  if (s.steps == 0 || s.batch == 0 || s.hidden == 0) return;
  if (s.batch <= kNarrowColumns && unit_block(w, s) > 0)
    run_in_team(w, s, p, cells);
  else
    run_step_by_step(w, s, p, cells);
}

}  // namespace

void lstm(const Matrix& w, const Sequence& s) {
  check_sizes(w, s, 4);
  const Index width = 4 * s.hidden;
  run(w, s, {.bias = nullptr, .adds = true, .out = s.gates, .gates = 4, .step_stride = s.batch * width},
      [&](const Kernels& table, Index t, Index first, Index units) {
        for (Index b = 0; b < s.batch; ++b)
          table.lstm_cell({.gates = s.gates + (t * s.batch + b) * width + first,
                           .hidden = s.hidden,
                           .units = units,
                           .c = s.c + b * s.hidden + first,
                           .h = s.h + b * s.hidden + first,
                           .y = s.y + t * s.y_step_stride + b * s.y_row_stride + first});
      });
}

void gru(const Matrix& w, const float* bias, const Sequence& s) {
  check_sizes(w, s, 3);
  const Index width = 3 * s.hidden;
  const Workspace workspace(checked_mul(checked_mul(s.batch, width, "gates"), sizeof(float), "gates"));
  float* const recurrent = workspace.data();
  run(w, s, {.bias = bias, .adds = false, .out = recurrent, .gates = 3, .step_stride = 0},
      [&](const Kernels& table, Index t, Index first, Index units) {
        for (Index b = 0; b < s.batch; ++b)
          table.gru_cell({.gates = s.gates + (t * s.batch + b) * width + first,
                          .recurrent = recurrent + b * width + first,
                          .hidden = s.hidden,
                          .units = units,
                          .h = s.h + b * s.hidden + first,
                          .y = s.y + t * s.y_step_stride + b * s.y_row_stride + first});
      });
}

}  // namespace sparse_engine
