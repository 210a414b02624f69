// A plan of a recurrent layer over a sequence: how the product of each step is cut, and the scratch that takes.
#pragma once

#include <memory>

#include "formats/plan_cache.hpp"
#include "kernels/table.hpp"
#include "sparse_engine/matrix.hpp"
#include "sparse_engine/recurrent.hpp"

namespace sparse_engine {

enum class Cell { lstm, gru };

constexpr Index gates_of(Cell cell) { return cell == Cell::lstm ? 4 : 3; }

// Immutable, so a plan serves any number of callers at once; each run needs a workspace of its own.
class RecurrentPlan : public CachedPlan {
 public:
  RecurrentPlan(const RecurrentPlan&) = delete;
  RecurrentPlan& operator=(const RecurrentPlan&) = delete;

  // All steps of `s`, of the batch and hidden units that the plan was made for. `bias` of the recurrent product: a GRU's, or
  // null. `workspace`: workspace_bytes(), 64-byte aligned, its contents arbitrary.
  void run(const Sequence& s, const float* bias, float* workspace) const;
  Index workspace_bytes() const;

 protected:
  // Where the product of a step goes: `width` apart from sequence to sequence, step_stride from step to step; on top of what is
  // there, or of a bias.
  struct Product {
    const float* bias;
    bool adds;
    float* out;
    Index width, step_stride;
  };

  RecurrentPlan(const Kernels& table, Cell cell, Index batch, Index hidden);
  void set_scratch(Index floats);  // of run_steps()
  const Kernels& table() const { return table_; }
  Cell cell() const { return cell_; }
  // The cells of some units at step t, for the whole batch. `out`: that step's product.
  void run_cells(const Sequence& s, const float* out, Index t, Index first, Index units) const;

 private:
  virtual void run_steps(const Sequence& s, const Product& p, float* scratch) const = 0;

  const Kernels& table_;
  Cell cell_;
  Index product_floats_ = 0;  // of the workspace: a GRU's product, which its gates do not take
  Index scratch_floats_ = 0;
};

// Threads that a sequence is worth, and its plan for so many. w: (gates · hidden, hidden); neither batch nor hidden is 0.
int recurrent_threads(const Matrix& w, Index steps, Index batch, Index hidden);
std::shared_ptr<const RecurrentPlan> plan_recurrent(const Kernels& table, const Matrix& w, Cell cell, Index batch, Index hidden,
                                                    int threads);

}  // namespace sparse_engine
