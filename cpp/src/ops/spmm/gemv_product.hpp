// W times one to eight columns, as formats lay them out: what plans of such products share.
#pragma once

#include <memory>

#include "formats/narrow.hpp"
#include "formats/plan_cache.hpp"

namespace sparse_engine {

class GemvProduct {
 public:
  GemvProduct(const Kernels& table, const Matrix& w, Index columns)
      : table_(table),
        matrix_(w.impl()),
        layout_(w.plans().layouts().narrow(matrix_->narrow_kind(table, columns))),
        strides_(narrow_strides(layout_ ? NarrowOrder::columns : NarrowOrder::rows, w.cols(), columns)) {}

  const Kernels& table() const { return table_; }
  const MatrixImpl& matrix() const { return *matrix_; }
  const NarrowStrides& strides() const { return strides_; }  // of X as multiply() reads it

  void multiply(const NarrowJob& job) const { layout_ ? layout_->multiply(job) : matrix_->multiply_narrow(job); }

 private:
  const Kernels& table_;
  std::shared_ptr<const MatrixImpl> matrix_;
  std::shared_ptr<const NarrowLayout> layout_;  // null: the matrix as it lies
  NarrowStrides strides_;
};

}  // namespace sparse_engine
