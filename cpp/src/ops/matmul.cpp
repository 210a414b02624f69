#include "ops/matmul.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {
namespace {

// A task packs a few columns of B and multiplies all rows of A by them: so each element of B is packed once.
class MatmulPlan final : public Plan {
 public:
  MatmulPlan(const Kernels& table, const MatmulShape& s, int threads) : table_(table), s_(s) {
    blocks_ = (s.columns + kColumns - 1) / kColumns;
    const Index all = checked_mul(s.batch, blocks_, "tasks");
    const Index work = checked_mul(checked_mul(std::max<Index>(s.rows, 1), s.depth, "work"), kColumns, "work");
    checked_mul(all, work, "work");
    grouped_ = std::max<Index>(1, Tuning::session.serial_below / std::max<Index>(1, work));
    tasks_ = s.rows == 0 ? 0 : all;
    cut(Strategy::matmul, (tasks_ + grouped_ - 1) / grouped_, threads, 0, checked_mul(s.depth, kColumns, "workspace"));
  }

 private:
  static constexpr Index kColumns = Tuning::session.matmul_columns;

  void run_one(Index task, const Operands& operands, const float*, float* own) const override {
    for (Index i = task * grouped_; i < std::min((task + 1) * grouped_, tasks_); ++i) {
      const Index item = i / blocks_, first = i % blocks_ * kColumns, columns = std::min(kColumns, s_.columns - first);
      const float* const b = operands.second + item * s_.depth * s_.columns;
      table_.panel_pack({.source = b + first * (s_.transposed ? s_.depth : 1),
                         .row_stride = s_.transposed ? 1 : s_.columns,
                         .column_stride = s_.transposed ? s_.depth : 1,
                         .rows = s_.depth,
                         .columns = columns,
                         .target = own,
                         .target_stride = kColumns,
                         .target_columns = kColumns});
      table_.gemm({.a = operands.x + item * s_.rows * s_.depth,
                   .a_row = s_.depth,
                   .a_column = 1,
                   .rows = s_.rows,
                   .depth = s_.depth,
                   .b = own,
                   .b_row = kColumns,
                   .columns = columns,
                   .y = operands.y + item * s_.rows * s_.columns + first,
                   .y_row = s_.columns});
    }
  }

  const Kernels& table_;
  MatmulShape s_;
  Index blocks_, grouped_, tasks_;
};

}  // namespace

std::shared_ptr<const Plan> plan_matmul(const Kernels& table, const MatmulShape& shape, int threads) {
  return std::make_shared<MatmulPlan>(table, shape, threads);
}

}  // namespace sparse_engine
