// One row of a resized plane.
//
// Method   the two rows that it lies between become one, a vector at a time, then every output is taken from the two columns
// that
//          it lies between. Where a weight is 0 the other operand is not looked at: infinity and NaN stay where they are.
// Cost     two vectors loaded for each vector of the input's width, two floats for each output.
// Error    a + w·(b − a) twice: 8u times the largest magnitude among the four.
#pragma once

#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

[[gnu::always_inline]] inline float between(float a, float b, float weight) {
  return weight == 0.0f ? a : a + weight * (b - a);
}

void resize_row(const ResizeRowArgs& args) {
  const ResizeRowArgs a = args;
  const float* row = a.upper;
  if (a.weight != 0.0f) {
    const Vec weight = splat(a.weight);
    int64_t i = 0;
    for (; i + kLanes <= a.width; i += kLanes) {
      const Vec upper = load(a.upper + i);
      store(a.folded + i, add(upper, mul(weight, sub(load(a.lower + i), upper))));
    }
    for (; i < a.width; ++i) a.folded[i] = between(a.upper[i], a.lower[i], a.weight);
    row = a.folded;
  }
  const float last = static_cast<float>(a.width - 1);
  for (int64_t out = 0; out < a.outputs; ++out) {
    const float column = a.columns[out];  // a number that is none is the first
    const int32_t left = static_cast<int32_t>(column > 0.0f ? (column < last ? column : last) : 0.0f);
    const int32_t right = left + (left < static_cast<int32_t>(a.width) - 1);
    a.y[out] = between(row[left], row[right], a.column_weights[out]);
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
