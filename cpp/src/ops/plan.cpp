#include "ops/plan.hpp"

#include "base/check.hpp"
#include "base/parallel.hpp"
#include "kernels/table.hpp"

namespace sparse_engine {

Index whole_lines(Index floats, const char* what) {
  return checked_add(floats, kLineFloats - 1, what) / kLineFloats * kLineFloats;
}

void Plan::cut(Strategy strategy, Index tasks, int threads, Index shared_floats, Index worker_floats) {
  strategy_ = strategy;
  partition_ = {tasks, threads, whole_lines(shared_floats, "workspace"), whole_lines(worker_floats, "workspace")};
  const Index workers = checked_mul(threads, partition_.worker_floats, "workspace");
  checked_mul(checked_add(partition_.shared_floats, workers, "workspace"), kFloatBytes, "workspace");
}

void Plan::run(const Operands& operands, float* workspace) const {
  prepare(operands, workspace);
  parallel::parallel_for(partition_.tasks, partition_.threads,
                         [&](Index task, int worker) { run_task(task, operands, workspace, own_part(workspace, worker)); });
}

}  // namespace sparse_engine
