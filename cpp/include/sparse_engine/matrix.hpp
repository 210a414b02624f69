// A sparse matrix: how the kept weights are stored is the format's business.
#pragma once

#include <memory>

#include "sparse_engine/types.hpp"

namespace sparse_engine {

class MatrixImpl;  // what operations multiply by, see cpp/src/formats
class PlanCache;   // what they keep for the next call

// Immutable once constructed, so every method is safe to call from several threads.
class Matrix {
 public:
  virtual ~Matrix();
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  Index nnz() const { return nnz_; }      // stored weights
  Index bytes() const { return bytes_; }  // memory held by them
  Index layout_bytes() const;             // memory held by layouts that products have asked for, the last few of which are kept
  void to_dense(float* out) const;        // row-major, rows × cols

  const std::shared_ptr<const MatrixImpl>& impl() const { return impl_; }
  PlanCache& plans() const { return *plans_; }

 protected:
  explicit Matrix(std::shared_ptr<const MatrixImpl> impl);
  Matrix(Matrix&&) noexcept;
  Matrix& operator=(Matrix&&) noexcept;

 private:
  std::shared_ptr<const MatrixImpl> impl_;
  std::shared_ptr<PlanCache> plans_;
  Index rows_ = 0, cols_ = 0, nnz_ = 0, bytes_ = 0;
};

}  // namespace sparse_engine
