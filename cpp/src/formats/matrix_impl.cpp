#include "formats/matrix_impl.hpp"

#include <utility>

#include "formats/plan_cache.hpp"

namespace sparse_engine {

Matrix::Matrix(std::shared_ptr<const MatrixImpl> impl) : impl_(std::move(impl)), plans_(std::make_shared<PlanCache>(impl_)) {
  const MatrixSize size = impl_->size();
  rows_ = size.rows, cols_ = size.cols, nnz_ = size.nnz, bytes_ = size.bytes;
}

Matrix::Matrix(Matrix&&) noexcept = default;
Matrix& Matrix::operator=(Matrix&&) noexcept = default;
Matrix::~Matrix() = default;

Index Matrix::layout_bytes() const { return plans_->layouts().bytes(); }
void Matrix::to_dense(float* out) const { impl_->to_dense(out); }

}  // namespace sparse_engine
