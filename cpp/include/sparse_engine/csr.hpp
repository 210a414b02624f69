// Compressed sparse rows: unstructured sparsity.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

class Csr final : public Matrix {
 public:
  // Keeps the entries of a row-major rows × cols array that are not 0 (−0 is 0; NaN is kept), rounded to `type` (to nearest,
  // ties to even); what rounds to 0 is not stored. Throws std::invalid_argument for int8 and for a finite weight that rounds to
  // infinity.
  static Csr from_dense(const float* weights, Index rows, Index cols, ValueType type = ValueType::float32);

  // Copies, then validates the copy: row_starts has rows + 1 entries, begins at 0, never decreases and ends at the number of
  // values; column indices lie in [0, cols). Rows are sorted; a column that occurs twice in a row is refused.
  // Throws std::invalid_argument.
  static Csr from_parts(std::span<const std::int64_t> row_starts, std::span<const std::int64_t> column_indices,
                        std::span<const float> values, Index rows, Index cols);

  Csr(Csr&&) noexcept;
  Csr& operator=(Csr&&) noexcept;
  ~Csr() override;

  ValueType value_type() const;
  std::span<const std::int64_t> row_starts() const;
  std::vector<float> values() const;                 // a widened copy
  std::vector<std::int64_t> column_indices() const;  // a widened copy

 private:
  struct State;
  explicit Csr(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

}  // namespace sparse_engine
