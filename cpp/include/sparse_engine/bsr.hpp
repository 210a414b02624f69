// Block compressed sparse rows: blocks of height × width weights that stay or go together.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

struct BlockShape {
  Index height;
  Index width;

  bool operator==(const BlockShape&) const = default;
};

class Bsr final : public Matrix {
 public:
  // Keeps the blocks of a row-major rows × cols array that hold anything but 0 (NaN is kept). Zeros inside a kept block are
  // stored and may be multiplied. The block divides the shape; throws std::invalid_argument otherwise.
  static Bsr from_dense(const float* weights, Index rows, Index cols, BlockShape block);

  // Copies, then validates the copy: row_starts has rows / height + 1 entries, begins at 0, never decreases and ends at the
  // number of blocks; column indices count blocks and lie in [0, cols / width); values holds height × width per block,
  // row-major. Block rows are sorted; a block that occurs twice is refused. Throws std::invalid_argument.
  static Bsr from_parts(std::span<const std::int64_t> row_starts, std::span<const std::int64_t> column_indices,
                        std::span<const float> values, Index rows, Index cols, BlockShape block);

  Bsr(Bsr&&) noexcept;
  Bsr& operator=(Bsr&&) noexcept;
  ~Bsr() override;

  BlockShape block() const;
  std::span<const std::int64_t> row_starts() const;
  std::vector<std::int64_t> column_indices() const;  // a widened copy
  std::vector<float> values() const;                 // row-major within a block, a copy

 private:
  struct State;
  explicit Bsr(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

}  // namespace sparse_engine
