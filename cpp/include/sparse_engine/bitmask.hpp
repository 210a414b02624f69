// One bit a weight, and the weights that stay: unstructured sparsity of 40 to 80%, at one to eight columns.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

class Bitmask final : public Matrix {
 public:
  // Keeps the entries of a row-major rows × cols array that are not 0 (−0 is 0), rounded to `type`; what rounds to 0 is not
  // stored. float32, bfloat16 and float16 keep NaN and infinities, and round to nearest, ties to even. int8 keeps a row as
  // multiples −127 … 127 of the row's scale, ties away from 0. Throws std::invalid_argument for a finite weight that would
  // become infinite, and with int8 for one that is not finite.
  static Bitmask from_dense(const float* weights, Index rows, Index cols, ValueType type = ValueType::float32);

  // Copies, then validates the copy: `mask` has one bit per weight, weight i (row-major) is bit i % 8 of byte i / 8, bits past
  // the last weight are 0; there are as many values as ones. Values are rounded as from_dense does, but what rounds to 0 stays
  // stored. Throws std::invalid_argument.
  static Bitmask from_parts(std::span<const std::uint8_t> mask, std::span<const float> values, Index rows, Index cols,
                            ValueType type = ValueType::float32);

  Bitmask(Bitmask&&) noexcept;
  Bitmask& operator=(Bitmask&&) noexcept;
  ~Bitmask() override;

  ValueType value_type() const;
  std::vector<std::uint8_t> mask() const;  // as from_parts takes it
  std::vector<float> values() const;       // as stored, widened

 private:
  struct State;
  explicit Bitmask(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

}  // namespace sparse_engine
