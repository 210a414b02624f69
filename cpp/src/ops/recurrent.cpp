#include "sparse_engine/recurrent.hpp"

#include "base/check.hpp"
#include "base/registry.hpp"
#include "base/workspace.hpp"
#include "ops/recurrent_plan.hpp"

namespace sparse_engine {
namespace {

void check_sizes(const Matrix& w, const Sequence& s, Index gates) {
  check(s.steps >= 0 && s.batch >= 0 && s.hidden >= 0, "a sequence of ", s.steps, " steps × ", s.batch, " × ", s.hidden,
        " has a negative size");
  check(w.rows() == checked_mul(gates, s.hidden, "gates") && w.cols() == s.hidden, "W has shape (", w.rows(), ", ", w.cols(),
        "); ", s.hidden, " hidden units with ", gates, " gates need (", gates * s.hidden, ", ", s.hidden, ")");
  checked_mul(checked_mul(s.steps, s.batch, "gates"), w.rows(), "gates");
}

void run(const Matrix& w, Cell cell, const float* bias, const Sequence& s) {
  check_sizes(w, s, gates_of(cell));
  if (s.steps == 0 || s.batch == 0 || s.hidden == 0) return;
  const Kernels& table = kernels();
  const int threads = recurrent_threads(w, s.steps, s.batch, s.hidden);
  const PlanKey key(reinterpret_cast<std::intptr_t>(&table), threads, static_cast<int>(cell), s.batch);
  const auto plan =
      w.plans().get<RecurrentPlan>(key, [&] { return plan_recurrent(table, w, cell, s.batch, s.hidden, threads); });
  const Workspace workspace(plan->workspace_bytes());
  plan->run(s, bias, workspace.data());
}

}  // namespace

void lstm(const Matrix& w, const Sequence& s) { run(w, Cell::lstm, nullptr, s); }

void gru(const Matrix& w, const float* bias, const Sequence& s) { run(w, Cell::gru, bias, s); }

}  // namespace sparse_engine
