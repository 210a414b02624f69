// An operation with its decisions made: what runs it neither allocates nor locks nor decides.
#pragma once

#include "formats/plan_cache.hpp"
#include "sparse_engine/types.hpp"

namespace sparse_engine {

// What changes from run to run. x, y and residual lie as the plan was told.
struct Operands {
  const float* x;
  float* y;
  Epilogue epilogue;  // with a residual exactly where the plan was told of one
  // The other operands, of an operation that has so many.
  const float *second = nullptr, *third = nullptr, *fourth = nullptr;
};

enum class Strategy {
  gemv,
  panels,
  in_place,
  planes,
  banded,
  depthwise,
  expanded,
  elementwise,
  pool,
  resize,
  rows,
  copy,
  pad,
  gather,
  write_rows,
  matmul,
  attention,
  recurrent
};

// How the work is cut, and the scratch it needs. Tasks are independent of one another; they may run in any order and on any
// threads, each worker with a number of its own. Results do not depend on it.
struct Partition {
  Index tasks = 0;
  int threads = 1;          // workers the plan was made for
  Index shared_floats = 0;  // of the workspace, written by prepare() and read by tasks
  Index worker_floats = 0;  // of the workspace, for each worker
};

// The next multiple of a cache line; `what` is too large where that is past 63 bits.
Index whole_lines(Index floats, const char* what);

// Whether `tasks` of about equal length keep so many threads busy to the end.
inline bool evenly(Index tasks, Index threads) { return tasks % threads == 0 || tasks >= 4 * threads; }

// Immutable, so a plan serves any number of threads at once; each run needs a workspace of its own.
class Plan : public CachedPlan {
 public:
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  Strategy strategy() const { return strategy_; }
  Index tasks() const { return partition_.tasks; }
  int threads() const { return partition_.threads; }
  Index shared_bytes() const { return partition_.shared_floats * kFloatBytes; }
  Index worker_bytes() const { return partition_.worker_floats * kFloatBytes; }
  Index workspace_bytes() const {
    return (partition_.shared_floats + partition_.threads * partition_.worker_floats) * kFloatBytes;
  }

  // All of it on the plan's threads. `workspace`: workspace_bytes(), 64-byte aligned, its contents arbitrary.
  void run(const Operands& operands, float* workspace) const;

  // The same in pieces, for callers with threads of their own: prepare() before the first task, on one thread; then every task
  // once, by at most threads() workers. `shared`: shared_bytes(), `own`: worker_bytes() for each worker, aligned likewise.
  virtual void prepare(const Operands&, float* shared) const { static_cast<void>(shared); }
  void run_task(Index task, const Operands& operands, const float* shared, float* own) const {
    run_one(task, operands, shared, own);
  }
  // Of a workspace.
  float* own_part(float* workspace, int worker) const {
    return workspace + partition_.shared_floats + worker * partition_.worker_floats;
  }

 protected:
  Plan() = default;
  // Workers' parts begin at cache lines of their own.
  void cut(Strategy strategy, Index tasks, int threads, Index shared_floats, Index worker_floats);

 private:
  static constexpr Index kFloatBytes = sizeof(float);
  virtual void run_one(Index task, const Operands& operands, const float* shared, float* own) const = 0;

  Strategy strategy_ = Strategy::gemv;
  Partition partition_;
};

}  // namespace sparse_engine
