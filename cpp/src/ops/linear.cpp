#include "sparse_engine/linear.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/registry.hpp"
#include "base/workspace.hpp"
#include "ops/linear.hpp"
#include "ops/spmm/spmm_plan.hpp"

namespace sparse_engine {

std::shared_ptr<const Plan> plan_multiply(const Kernels& table, const Matrix& w, const ConstPanel& x, const Panel& y,
                                          int threads) {
  const Index n = x.columns;
  if (n <= kSkinnyColumns) return plan_gemv(table, w, {nullptr, x.rows, n, x.row_stride, x.column_stride}, y, threads);
  // One image, one pixel high.
  const ConstImages in{nullptr, 1, x.rows, 1, n, 0, x.row_stride, n * x.column_stride, x.column_stride};
  const Images out{nullptr, 1, y.rows, 1, n, 0, y.row_stride, n * y.column_stride, y.column_stride};
  return plan_panels(table, w, in, 1, out, threads);
}

void multiply(const Matrix& w, const ConstPanel& x, const Epilogue& epilogue, const Panel& y) {
  check(x.rows == w.cols(), "X has ", x.rows, " rows; a matrix of shape (", w.rows(), ", ", w.cols(), ") needs ", w.cols());
  check(y.rows == w.rows() && y.columns == x.columns, "Y has shape (", y.rows, ", ", y.columns, "); the product needs (",
        w.rows(), ", ", x.columns, ")");
  if (x.columns == 0 || w.rows() == 0) return;
  const Kernels& table = kernels();
  const Index columns_worth = x.columns <= kSkinnyColumns ? std::max(x.columns, Tuning::threads.few_columns_worth) : x.columns;
  const int threads = threads_for(checked_mul(w.nnz() + w.rows(), columns_worth, "work"));
  const PlanKey key(reinterpret_cast<std::intptr_t>(&table), threads, x.columns, x.row_stride, x.column_stride, y.row_stride,
                    y.column_stride);
  const auto plan = w.plans().get<Plan>(key, [&] { return plan_multiply(table, w, x, y, threads); });
  const Workspace workspace(plan->workspace_bytes());
  plan->run({x.data, y.data, epilogue}, workspace.data());
}

void linear(const ConstPanel& x, const Matrix& w, const Epilogue& epilogue, const Panel& y) {
  check(x.columns == w.cols(), "x has ", x.columns, " features; a matrix of shape (", w.rows(), ", ", w.cols(), ") needs ",
        w.cols());
  check(y.rows == x.rows && y.columns == w.rows(), "y has shape (", y.rows, ", ", y.columns, "); the product needs (", x.rows,
        ", ", w.rows(), ")");
  multiply(w, {x.data, x.columns, x.rows, x.column_stride, x.row_stride}, epilogue,
           {y.data, y.columns, y.rows, y.column_stride, y.row_stride});
}

}  // namespace sparse_engine
