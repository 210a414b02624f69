// The narrowest type that holds floats exactly, bit for bit: what 16-bit models are made of takes no more in files and
// matrices.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

#include "base/float_types.hpp"

namespace sparse_engine {

template <class Value>
bool holds_exactly(float v) {
  return std::bit_cast<std::uint32_t>(widened(rounded<Value>(v))) == std::bit_cast<std::uint32_t>(v);
}

// bfloat16, float16 or float32, the first that holds all of `values`. Most arrays of float32 are known by their first value.
inline ValueType exact_type(std::span<const float> values) {
  if (std::ranges::all_of(values, holds_exactly<BFloat16>)) return ValueType::bfloat16;
  if (std::ranges::all_of(values, holds_exactly<Float16>)) return ValueType::float16;
  return ValueType::float32;
}

}  // namespace sparse_engine
