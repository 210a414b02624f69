// n:m sparsity: of every m neighbouring weights of a row exactly n are stored.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

struct GroupShape {
  Index n;
  Index m;

  bool operator==(const GroupShape&) const = default;
};

class Nm final : public Matrix {
 public:
  // Keeps n weights of every group of a row-major rows × cols array: those that are not 0, and zeros where they are fewer; such
  // zeros are stored, and multiplied. 1 <= n < m <= 16, m divides cols, and no group holds more than n non-zeros; throws
  // std::invalid_argument otherwise.
  static Nm from_dense(const float* weights, Index rows, Index cols, GroupShape group);

  // Copies, then validates the copy: values and positions hold cols · n / m per row, group by group; positions count within a
  // group and increase in it. Throws std::invalid_argument.
  static Nm from_parts(std::span<const float> values, std::span<const std::uint8_t> positions, Index rows, Index cols,
                       GroupShape group);

  Nm(Nm&&) noexcept;
  Nm& operator=(Nm&&) noexcept;
  ~Nm() override;

  GroupShape group() const;
  std::vector<float> values() const;            // rows × cols · n / m, a copy
  std::vector<std::uint8_t> positions() const;  // within their groups, a widened copy

 private:
  struct State;
  explicit Nm(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

}  // namespace sparse_engine
