// What weights are kept as: rounding float32 to it, and back. All by integer arithmetic, so that neither the rounding mode nor
// the treatment of subnormals of the calling thread changes what is stored.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <utility>

#include "base/check.hpp"
#include "kernels/table_types.hpp"
#include "sparse_engine/types.hpp"

namespace sparse_engine {

inline constexpr std::uint32_t kInfinityBits = 0x7f800000, kMagnitudeBits = 0x7fffffff;

inline bool is_finite(float v) { return (std::bit_cast<std::uint32_t>(v) & kMagnitudeBits) < kInfinityBits; }
inline bool is_zero(float v) { return (std::bit_cast<std::uint32_t>(v) & kMagnitudeBits) == 0; }

// `bits` without its lower `count` bits, to the nearest, ties to even.
inline std::uint32_t shift_to_nearest(std::uint32_t bits, int count) {
  const std::uint32_t whole = bits >> count, rest = bits & ((1u << count) - 1), half = 1u << (count - 1);
  return whole + (rest > half || (rest == half && (whole & 1) != 0));
}

template <class Value>
Value rounded(float v);

template <>
inline float rounded<float>(float v) {
  return v;
}

template <>
inline BFloat16 rounded<BFloat16>(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  if ((bits & kMagnitudeBits) > kInfinityBits) return {static_cast<std::uint16_t>(bits >> 16 | 0x40)};  // a quiet NaN
  return {static_cast<std::uint16_t>(shift_to_nearest(bits, 16))};
}

template <>
inline Float16 rounded<Float16>(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  const std::uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & kMagnitudeBits, exponent = magnitude >> 23;
  const auto with_sign = [&](std::uint32_t half) { return Float16{static_cast<std::uint16_t>(sign | half)}; };
  if (magnitude > kInfinityBits) return with_sign(0x7e00 | (magnitude >> 13 & 0x1ff));
  if (exponent >= 143) return with_sign(0x7c00);                                          // 2¹⁶ and more
  if (exponent >= 113) return with_sign(shift_to_nearest(magnitude - (112u << 23), 13));  // may carry into infinity
  if (exponent < 102) return with_sign(0);                                                // below half of 2⁻²⁴
  return with_sign(shift_to_nearest((magnitude & 0x7fffff) | 0x800000, static_cast<int>(126 - exponent)));
}

inline float widened(float v) { return v; }
inline float widened(BFloat16 v) { return std::bit_cast<float>(std::uint32_t{v.bits} << 16); }
inline float widened(std::int8_t v) { return v; }
inline float widened(Float16 v) {
  const std::uint32_t sign = (v.bits & 0x8000u) << 16, exponent = v.bits >> 10 & 31, fraction = v.bits & 0x3ff;
  if (exponent == 0) return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(static_cast<float>(fraction) * 0x1p-24f));
  return std::bit_cast<float>(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13);
}

// int8: the weights of a row are multiples −127 … 127 of its scale, the largest of them about 127. A scale has sixteen
// significant bits, so that every multiple of it is a float32, and rounding rounded values again changes nothing. Rounded up,
// but not so far that 127 of it are beyond float32.
inline float row_scale(float largest_magnitude) {
  constexpr float kLargest = 0x1.0204p+121f;  // of sixteen bits; 127 of the next are 2¹²⁸
  const auto bits = std::bit_cast<std::uint32_t>(largest_magnitude / 127.0f);
  return std::bit_cast<float>(std::min((bits + 0xff) & ~0xffu, std::bit_cast<std::uint32_t>(kLargest)));
}

inline std::int8_t in_units_of(float scale, float v) {
  return scale == 0 ? std::int8_t{0} : static_cast<std::int8_t>(std::clamp(std::round(v / scale), -127.0f, 127.0f));
}

template <class Value>
inline constexpr ValueType kValueType = ValueType::float32;
template <>
inline constexpr ValueType kValueType<BFloat16> = ValueType::bfloat16;
template <>
inline constexpr ValueType kValueType<Float16> = ValueType::float16;
template <>
inline constexpr ValueType kValueType<std::int8_t> = ValueType::int8;

inline const char* name_of(ValueType type) {
  switch (type) {
    case ValueType::float32: return "float32";
    case ValueType::bfloat16: return "bfloat16";
    case ValueType::float16: return "float16";
    case ValueType::int8: return "int8";
  }
  return "no type of value";
}

// Refuses what the type would turn into another kind of number: the finite into infinity, or with int8 the infinite into
// anything. `where` is what to call the weight.
template <class... Where>
void check_fits(ValueType type, float v, const Where&... where) {
  const bool fits = type == ValueType::float32    ? true
                    : type == ValueType::bfloat16 ? !is_finite(v) || is_finite(widened(rounded<BFloat16>(v)))
                    : type == ValueType::float16  ? !is_finite(v) || is_finite(widened(rounded<Float16>(v)))
                                                  : is_finite(v);
  check(fits, where..., " = ", v, " does not fit ", name_of(type), "; keep the weights as float32");
}

// Calls body.operator()<Value>() with the type of the list that `type` names; throws std::invalid_argument for none.
template <class... Values, class Body>
void with_value_type(TypeList<Values...>, ValueType type, const Body& body) {
  const bool kept = ((kValueType<Values> == type && (body.template operator()<Values>(), true)) || ...);
  if (kept) [[likely]]
    return;
  std::string names;
  int left = sizeof...(Values);
  ((append(names, name_of(kValueType<Values>)), append(names, --left > 1 ? ", " : left == 1 ? " or " : "")), ...);
  check(false, "this format keeps ", names, ", not ", name_of(type), "; BitmaskMatrix does");
}

}  // namespace sparse_engine
