// Two arrays, or an array and a number, element by element; and what is applied to every output last.
//
// Method   a vector at a time.
// Cost     two loads and a store for each element.
// Error    that of one operation, u = 2⁻²⁴, and of the activation (activation.hpp). Maxima and minima are exact, and NaN where
// an
//          operand is. Comparisons give 1 or 0, which is 0 with NaN; `keep` is a where b is not 0, else 0.
#pragma once

#include "kernels/elementwise/activation.hpp"
#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

template <BinaryOp op>
inline Vec combined(Vec a, Vec b) {
  if constexpr (op == BinaryOp::add) return add(a, b);
  if constexpr (op == BinaryOp::subtract) return sub(a, b);
  if constexpr (op == BinaryOp::multiply) return mul(a, b);
  if constexpr (op == BinaryOp::divide) return div(a, b);
  if constexpr (op == BinaryOp::maximum) return max_or_nan(a, b);
  if constexpr (op == BinaryOp::minimum) return min_or_nan(a, b);
  if constexpr (op == BinaryOp::less) return less(a, b);
  if constexpr (op == BinaryOp::less_equal) return less_equal(a, b);
  if constexpr (op == BinaryOp::equal) return equal(a, b);
  if constexpr (op == BinaryOp::keep) return where(equal(b, splat(0.0f)), splat(0.0f), a);
  return a;
}

template <BinaryOp op, bool kNumber>
inline void combine(const BinaryArgs& args) {
  const BinaryArgs a = args;
  const Vec number = kNumber ? splat(*a.b) : splat(0.0f);
  int64_t i = 0;
  constexpr int kVectors = 4;
  for (; i + kVectors * kLanes <= a.count; i += kVectors * kLanes) {
    Vec y[kVectors];
    for (int v = 0; v < kVectors; ++v)
      y[v] = combined<op>(load(a.a + i + v * kLanes), kNumber ? number : load(a.b + i + v * kLanes));
    activate(y, a.activation);
    for (int v = 0; v < kVectors; ++v) store(a.y + i + v * kLanes, y[v]);
  }
  for (; i + kLanes <= a.count; i += kLanes)
    store(a.y + i, activate(combined<op>(load(a.a + i), kNumber ? number : load(a.b + i)), a.activation));
  if (i == a.count) return;
  float first[kLanes] = {}, second[kLanes] = {};
  for (int64_t j = i; j < a.count; ++j) {
    first[j - i] = a.a[j];
    second[j - i] = kNumber ? *a.b : a.b[j];
  }
  store(first, activate(combined<op>(load(first), load(second)), a.activation));
  for (int64_t j = i; j < a.count; ++j) a.y[j] = first[j - i];
}

template <BinaryOp op>
inline void combine_either(const BinaryArgs& args) {
  if (args.b_is_number)
    combine<op, true>(args);
  else
    combine<op, false>(args);
}

void binary(const BinaryArgs& args) {
  switch (args.op) {
    case BinaryOp::add: return combine_either<BinaryOp::add>(args);
    case BinaryOp::subtract: return combine_either<BinaryOp::subtract>(args);
    case BinaryOp::multiply: return combine_either<BinaryOp::multiply>(args);
    case BinaryOp::divide: return combine_either<BinaryOp::divide>(args);
    case BinaryOp::maximum: return combine_either<BinaryOp::maximum>(args);
    case BinaryOp::minimum: return combine_either<BinaryOp::minimum>(args);
    case BinaryOp::less: return combine_either<BinaryOp::less>(args);
    case BinaryOp::less_equal: return combine_either<BinaryOp::less_equal>(args);
    case BinaryOp::equal: return combine_either<BinaryOp::equal>(args);
    case BinaryOp::keep: return combine_either<BinaryOp::keep>(args);
    case BinaryOp::first: {
      const float zero = 0.0f;
      BinaryArgs alone = args;
      alone.b = &zero;
      return combine<BinaryOp::first, true>(alone);
    }
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
