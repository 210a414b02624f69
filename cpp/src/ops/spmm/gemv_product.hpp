// W times one to eight columns, as formats lay them out: what plans of such products share.
#pragma once

#include <memory>

#include "formats/plan_cache.hpp"
#include "formats/skinny.hpp"

namespace sparse_engine {

class GemvProduct {
 public:
  GemvProduct(const Kernels& table, const Matrix& w, Index columns)
      : table_(table),
        matrix_(w.impl()),
        layout_(w.plans().layouts().skinny(matrix_->skinny_kind(table, columns))),
        strides_(skinny_strides(layout_ ? SkinnyOrder::columns : SkinnyOrder::rows, w.cols(), columns)) {}

  const Kernels& table() const { return table_; }
  const MatrixImpl& matrix() const { return *matrix_; }
  const SkinnyStrides& strides() const { return strides_; }  // of X as multiply() reads it

  void multiply(const SkinnyJob& job) const { layout_ ? layout_->multiply(job) : matrix_->multiply_skinny(job); }

 private:
  const Kernels& table_;
  std::shared_ptr<const MatrixImpl> matrix_;
  std::shared_ptr<const SkinnyLayout> layout_;  // null: the matrix as it lies
  SkinnyStrides strides_;
};

}  // namespace sparse_engine
