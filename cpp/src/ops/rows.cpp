#include "ops/rows.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {
namespace {

// As many rows a task as elementwise operations take floats.
class RowsPlan : public Plan {
 public:
  RowsPlan(const Kernels& table, Index rows, Index columns, int threads) : table_(table), columns_(columns), rows_(rows) {
    checked_mul(rows, columns, "elements");
    grouped_ = std::max<Index>(1, Tuning::session.elementwise_floats / std::max<Index>(1, columns));
    cut(Strategy::rows, (rows + grouped_ - 1) / grouped_, threads, 0, 0);
  }

 protected:
  const Kernels& table_;
  Index columns_;

 private:
  void run_one(Index task, const Operands& operands, const float*, float*) const final {
    const Index first = task * grouped_;
    run_rows(first, std::min(grouped_, rows_ - first), operands);
  }
  virtual void run_rows(Index first, Index rows, const Operands& operands) const = 0;

  Index rows_, grouped_;
};

class MeanPlan final : public RowsPlan {
 public:
  MeanPlan(const Kernels& table, Index rows, Index columns, double scale, int threads)
      : RowsPlan(table, rows, columns, threads), scale_(static_cast<float>(scale)) {}

 private:
  void run_rows(Index first, Index rows, const Operands& operands) const override {
    table_.mean_rows(
        {.x = operands.x + first * columns_, .rows = rows, .columns = columns_, .scale = scale_, .y = operands.y + first});
  }

  float scale_;
};

class SoftmaxPlan final : public RowsPlan {
 public:
  using RowsPlan::RowsPlan;

 private:
  void run_rows(Index first, Index rows, const Operands& operands) const override {
    for (Index at = first * columns_; at < (first + rows) * columns_; at += columns_)
      table_.softmax_row({.x = operands.x + at,
                          .columns = columns_,
                          .scale = 1.0f,
                          .mask = nullptr,
                          .zeros_where_all_masked = false,
                          .y = operands.y + at});
  }
};

class LayerNormPlan final : public RowsPlan {
 public:
  using RowsPlan::RowsPlan;

 private:
  void run_rows(Index first, Index rows, const Operands& operands) const override {
    for (Index at = first * columns_; at < (first + rows) * columns_; at += columns_)
      table_.layer_norm_row({.x = operands.x + at,
                             .columns = columns_,
                             .epsilon = *operands.second,
                             .weight = operands.third,
                             .bias = operands.fourth,
                             .y = operands.y + at});
  }
};

class RmsNormPlan final : public RowsPlan {
 public:
  using RowsPlan::RowsPlan;

 private:
  void run_rows(Index first, Index rows, const Operands& operands) const override {
    for (Index at = first * columns_; at < (first + rows) * columns_; at += columns_)
      table_.rms_norm_row({.x = operands.x + at,
                           .columns = columns_,
                           .epsilon = *operands.second,
                           .weight = operands.third,
                           .y = operands.y + at});
  }
};

}  // namespace

std::shared_ptr<const Plan> plan_mean(const Kernels& table, Index rows, Index columns, int threads) {
  check(columns >= 1, "a mean over ", columns, " elements; there must be at least 1");
  return std::make_shared<MeanPlan>(table, rows, columns, 1.0 / static_cast<double>(columns), threads);
}

std::shared_ptr<const Plan> plan_sum(const Kernels& table, Index rows, Index columns, int threads) {
  return std::make_shared<MeanPlan>(table, rows, columns, 1.0, threads);
}

std::shared_ptr<const Plan> plan_softmax(const Kernels& table, Index rows, Index columns, int threads) {
  return std::make_shared<SoftmaxPlan>(table, columns == 0 ? 0 : rows, columns, threads);
}

std::shared_ptr<const Plan> plan_layer_norm(const Kernels& table, Index rows, Index columns, int threads) {
  return std::make_shared<LayerNormPlan>(table, columns == 0 ? 0 : rows, columns, threads);
}

std::shared_ptr<const Plan> plan_rms_norm(const Kernels& table, Index rows, Index columns, int threads) {
  return std::make_shared<RmsNormPlan>(table, columns == 0 ? 0 : rows, columns, threads);
}

}  // namespace sparse_engine
