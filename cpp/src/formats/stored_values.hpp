// The stored weights of a matrix, as one of the types that its format keeps them as; with int8 a scale for each row.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/aligned_array.hpp"
#include "base/float_types.hpp"
#include "kernels/table.hpp"

namespace sparse_engine {

template <class Types>
class StoredValues;

// Filled row by row: begin_row(), then push() for each weight that does not round to zero; at the end seal().
template <class... Values>
class StoredValues<TypeList<Values...>> {
 public:
  // Throws std::invalid_argument for a type that the format does not keep.
  explicit StoredValues(ValueType type = ValueType::float32) : type_(type) {
    with_value_type(TypeList<Values...>{}, type, [&]<class Value>() { arrays_.template emplace<Array<Value>>(); });
  }

  ValueType type() const { return type_; }

  void reserve(Index most) {
    std::visit([&](auto& array) { array.reserve(most + kSlackElements); }, arrays_);
  }

  // All weights of the row; they fit the type (check_fits).
  void begin_row(const float* weights, Index count) {
    if (type_ != ValueType::int8) return;
    float largest = 0;
    for (Index i = 0; i < count; ++i) largest = std::max(largest, std::abs(weights[i]));
    scales_.push_back(row_scale(largest));
  }

  bool rounds_to_zero(float v) const {
    return std::visit([&]<class Value>(const Array<Value>&) { return is_zero(widened(stored<Value>(v))); }, arrays_);
  }

  void push(float v) {
    std::visit([&]<class Value>(Array<Value>& array) { array.push_back(stored<Value>(v)); }, arrays_);
  }

  // The array goes on for kSlackElements zeros behind `count` values.
  void seal(Index count) {
    std::visit([&](auto& array) { array.resize(count + kSlackElements); }, arrays_);
  }

  // What float32 is kept in, for who fills it at once.
  Array<float>& floats() { return std::get<Array<float>>(arrays_); }

  // Calls use(array) with the array of the type that is kept.
  template <class Use>
  decltype(auto) visit(const Use& use) const {
    return std::visit(use, arrays_);
  }

  // One per row, or null.
  const float* scales() const { return scales_.empty() ? nullptr : scales_.data(); }

  // Values as float32; row r holds those from starts[r] to starts[r + 1].
  std::vector<float> widened_all(const std::vector<Index>& starts) const {
    std::vector<float> all(starts.back());
    visit([&](const auto& array) {
      for (std::size_t row = 0; row + 1 < starts.size(); ++row)
        for (Index i = starts[row]; i < starts[row + 1]; ++i) all[i] = widened(array[i]) * scale(static_cast<Index>(row));
    });
    return all;
  }

  float scale(Index row) const { return scales_.empty() ? 1.0f : scales_[row]; }

  Index bytes() const {
    return bytes_of(scales_) + visit([](const auto& array) { return bytes_of(array); });
  }

 private:
  template <class Value>
  Value stored(float v) const {
    if constexpr (std::is_same_v<Value, std::int8_t>) {
      return in_units_of(scales_.back(), v);
    } else {
      return rounded<Value>(v);
    }
  }

  ValueType type_;
  std::variant<Array<Values>...> arrays_;
  std::vector<float> scales_;  // per row; empty unless int8
};

}  // namespace sparse_engine
