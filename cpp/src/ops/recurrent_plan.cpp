#include "ops/recurrent_plan.hpp"

#include <algorithm>
#include <numeric>

#include "base/check.hpp"
#include "base/parallel.hpp"
#include "base/workspace.hpp"
#include "ops/linear.hpp"
#include "ops/spmm/gemv_product.hpp"

namespace sparse_engine {
namespace {

constexpr Index kFloatBytes = sizeof(float);

// Step `i` in the order of time.
Index time_of(const Sequence& s, Index i) { return s.backwards ? s.steps - 1 - i : i; }

// Units that a worker takes at a time, in whole vectors of every instruction set and whole steps of the matrix; 0 where the
// rows of a gate do not begin at one.
Index unit_block(const Matrix& w, Index hidden) {
  const Index step = w.impl()->skinny_step();
  return hidden % step == 0 ? std::lcm(step, Index{16}) : 0;
}

bool runs_in_team(const Matrix& w, Index batch, Index hidden) { return batch <= kSkinnyColumns && unit_block(w, hidden) > 0; }

// All steps in one team. What a worker computes of a step are all gates of some units and then these units' cells, so that one
// barrier a step is enough: h is packed for the next step in a panel that nobody reads in this one.
class TeamPlan final : public RecurrentPlan {
 public:
  TeamPlan(const Kernels& table, const Matrix& w, Cell cell, Index batch, Index hidden, int threads)
      : RecurrentPlan(table, cell, batch, hidden), product_(table, w, batch), threads_(threads), block_(unit_block(w, hidden)) {
    blocks_ = (hidden + block_ - 1) / block_;
    tasks_ = std::min(blocks_, threads == 1 ? Index{1} : Index{4} * threads);
    set_scratch(checked_mul(product_.strides().floats, 2, "packed state"));
  }

 private:
  void pack(const Sequence& s, float* target, Index first, Index last) const {
    const SkinnyStrides& strides = product_.strides();
    for (Index b = 0; b < s.batch; ++b)
      for (Index j = first; j < last; ++j) target[j * strides.row + b * strides.column] = s.h[b * s.hidden + j];
  }

  void run_steps(const Sequence& s, const Product& p, float* packed) const override {
    const SkinnyStrides& strides = product_.strides();
    const Index panel = strides.floats;
    std::fill(packed, packed + 2 * panel, 0.0f);
    pack(s, packed, 0, s.hidden);
    // The tasks of even and of odd steps: the ones are laid out again while the others are worked on.
    parallel::Shares shares[] = {parallel::Shares(tasks_, threads_), parallel::Shares(tasks_, threads_)};
    parallel::team(threads_, [&](int worker, parallel::Barrier& barrier) {
      for (Index i = 0; i < s.steps; ++i) {
        const Index t = time_of(s, i);
        const float* const now = packed + i % 2 * panel;
        float* const next = packed + (i + 1) % 2 * panel;
        float* const out = p.out + t * p.step_stride;
        if (worker == 0) shares[(i + 1) % 2].restart();
        shares[i % 2].work(worker, [&](Index task, int) {
          const Index first = blocks_ * task / tasks_ * block_;
          const Index last = std::min(s.hidden, blocks_ * (task + 1) / tasks_ * block_);
          for (Index gate = 0; gate < gates_of(cell()); ++gate)
            product_.multiply({.kernels = &table(),
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
                               .y_column_stride = p.width});
          run_cells(s, out, t, first, last - first);
          pack(s, next, first, last);
        });
        barrier.wait();
      }
    });
  }

  GemvProduct product_;
  int threads_;
  Index block_, blocks_, tasks_;
};

// One product after the other, each with threads of its own: many columns, or a matrix whose rows are not cut at gates.
class StepwisePlan final : public RecurrentPlan {
 public:
  StepwisePlan(const Kernels& table, const Matrix& w, Cell cell, Index batch, Index hidden, int threads)
      : RecurrentPlan(table, cell, batch, hidden),
        product_(
            plan_multiply(table, w, {nullptr, hidden, batch, 1, hidden}, {nullptr, w.rows(), batch, 1, w.rows()}, threads)) {
    set_scratch(product_->workspace_bytes() / kFloatBytes);
  }

  const Tiles* tiles() const override { return product_->tiles(); }

 private:
  void run_steps(const Sequence& s, const Product& p, float* scratch) const override {
    for (Index i = 0; i < s.steps; ++i) {
      const Index t = time_of(s, i);
      float* const out = p.out + t * p.step_stride;
      product_->run({s.h, out, {.bias = p.bias, .residual = p.adds ? out : nullptr}}, scratch);
      run_cells(s, out, t, 0, s.hidden);
    }
  }

  std::shared_ptr<const Plan> product_;
};

}  // namespace

RecurrentPlan::RecurrentPlan(const Kernels& table, Cell cell, Index batch, Index hidden) : table_(table), cell_(cell) {
  if (cell == Cell::gru)
    product_floats_ = whole_lines(checked_mul(batch, checked_mul(gates_of(cell), hidden, "gates"), "gates"), "workspace");
}

void RecurrentPlan::set_scratch(Index floats) {
  scratch_floats_ = floats;
  checked_mul(checked_add(product_floats_, floats, "workspace"), kFloatBytes, "workspace");
}

Index RecurrentPlan::workspace_bytes() const { return (product_floats_ + scratch_floats_) * kFloatBytes; }

void RecurrentPlan::run(const Sequence& s, const float* bias, float* workspace) const {
  const Index width = gates_of(cell_) * s.hidden;
  const Product p =
      cell_ == Cell::lstm ? Product{bias, true, s.gates, width, s.batch * width} : Product{bias, false, workspace, width, 0};
  run_steps(s, p, workspace + product_floats_);
}

void RecurrentPlan::run_cells(const Sequence& s, const float* out, Index t, Index first, Index units) const {
  const Index width = gates_of(cell_) * s.hidden;
  for (Index b = 0; b < s.batch; ++b) {
    float* const gates = s.gates + (t * s.batch + b) * width + first;
    float* const h = s.h + b * s.hidden + first;
    float* const y = s.y + t * s.y_step_stride + b * s.y_row_stride + first;
    if (cell_ == Cell::lstm)
      table_.lstm_cell({gates, s.hidden, units, s.c + b * s.hidden + first, h, y});
    else
      table_.gru_cell({gates, out + b * width + first, s.hidden, units, h, y});
  }
}

int recurrent_threads(const Matrix& w, Index steps, Index batch, Index hidden) {
  const Index columns = std::max(batch, Tuning::threads.few_columns_worth);
  const Index work = checked_mul(w.nnz() + w.rows(), columns, "work");
  // A barrier costs a quarter of what starting threads does, and a team starts once for all steps.
  return threads_for(runs_in_team(w, batch, hidden) ? checked_mul(work, std::min(steps, Index{4}), "work") : work);
}

std::shared_ptr<const RecurrentPlan> plan_recurrent(const Kernels& table, const Matrix& w, Cell cell, Index batch, Index hidden,
                                                    int threads) {
  if (runs_in_team(w, batch, hidden)) return std::make_shared<TeamPlan>(table, w, cell, batch, hidden, threads);
  return std::make_shared<StepwisePlan>(table, w, cell, batch, hidden, threads);
}

}  // namespace sparse_engine
