// One to eight columns: every row of W is read once, and nothing but W is worth a thought.
#include <vector>

#include "base/check.hpp"
#include "ops/spmm/gemv_product.hpp"
#include "ops/spmm/spmm_plan.hpp"

namespace sparse_engine {
namespace {

class GemvPlan final : public Plan {
 public:
  GemvPlan(const Kernels& table, const Matrix& w, const ConstPanel& x, const Panel& y, int threads)
      : product_(table, w, x.columns), x_(x), y_(y) {
    packs_ = x.columns != 1 || x.row_stride != 1;
    const Index shares = threads == 1 ? 1 : Index{threads} * 4;
    for (Index share = 0; share <= shares; ++share) first_rows_.push_back(w.impl()->row_at_share(share, shares));
    cut(Strategy::gemv, shares, threads, packs_ ? product_.strides().floats : 0, 0);
  }

  void prepare(const Operands& operands, float* workspace) const override {
    if (!packs_) return;
    const SkinnyStrides& strides = product_.strides();
    const bool by_column = strides.row == 1;
    product_.table().panel_pack({.source = operands.x,
                                 .row_stride = by_column ? x_.column_stride : x_.row_stride,
                                 .column_stride = by_column ? x_.row_stride : x_.column_stride,
                                 .rows = by_column ? x_.columns : x_.rows,
                                 .columns = by_column ? x_.rows : x_.columns,
                                 .target = workspace,
                                 .target_stride = by_column ? strides.column : strides.row,
                                 .target_columns = by_column ? x_.rows : kSkinnyColumns});
  }

 private:
  void run_one(Index task, const Operands& operands, const float* shared, float*) const override {
    const Activation activation = operands.epilogue.activation;
    // Row by row, each number would take the work of a whole vector.
    const bool at_the_end = x_.columns == 1 && y_.row_stride == 1 && activation > Activation::relu6;
    product_.multiply({.kernels = &product_.table(),
                       .row_begin = first_rows_[task],
                       .row_end = first_rows_[task + 1],
                       .columns = x_.columns,
                       .x = packs_ ? shared : operands.x,
                       .x_stride = product_.strides().column,
                       .bias = operands.epilogue.bias,
                       .residual = operands.epilogue.residual,
                       .activation = at_the_end ? Activation() : activation,
                       .y = operands.y,
                       .y_row_stride = y_.row_stride,
                       .y_column_stride = y_.column_stride});
    if (!at_the_end) return;
    float* const y = operands.y + first_rows_[task];
    product_.table().binary({.op = BinaryOp::first,
                             .a = y,
                             .b = nullptr,
                             .b_is_number = true,
                             .activation = activation,
                             .count = first_rows_[task + 1] - first_rows_[task],
                             .y = y});
  }

  GemvProduct product_;
  ConstPanel x_;
  Panel y_;
  bool packs_;
  std::vector<Index> first_rows_;  // of each task, and the end of the last
};

}  // namespace

std::shared_ptr<const Plan> plan_gemv(const Kernels& table, const Matrix& w, const ConstPanel& x, const Panel& y, int threads) {
  return std::make_shared<GemvPlan>(table, w, x, y, threads);
}

}  // namespace sparse_engine
