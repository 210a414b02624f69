// The end of a row times one to eight columns: bias, residual, activation, and the way to y.
#pragma once

#include "kernels/elementwise/activation.hpp"
#include "kernels/simd/simd.hpp"
#include "kernels/simd/simd8.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

inline void finish_one(const SkinnyArgs& a, int64_t row, int64_t column, float sum) {
  const int64_t place = row * a.y_row_stride + column * a.y_column_stride;
  if (a.bias) sum += a.bias[row];
  if (a.residual) sum += a.residual[place];
  a.y[place] = activate(sum, a.activation);
}

inline void finish_eight(const SkinnyArgs& a, int64_t row, F32x8 sum) {
  constexpr int kRoom = kLanes > 8 ? kLanes : 8;
  float sums[kRoom] = {};
  store8(sums, sum);
  const int64_t place = row * a.y_row_stride;
  for (int64_t column = 0; column < a.columns; ++column) {
    if (a.bias) sums[column] += a.bias[row];
    if (a.residual) sums[column] += a.residual[place + column * a.y_column_stride];
  }
  if (a.activation != Activation::none)
    for (int lane = 0; lane < kRoom; lane += kLanes) store(sums + lane, activate(load(sums + lane), a.activation));
  for (int64_t column = 0; column < a.columns; ++column) a.y[place + column * a.y_column_stride] = sums[column];
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
