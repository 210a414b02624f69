// Y = A · B of two dense matrices that are computed, not stored: A as it lies, B packed.
//
// Method   four rows and a few vectors of columns at a time, so that their sums stay in registers while all of the depth
// passes. Cost     for each step of depth and four rows, the vectors of B once and four elements of A. Error    sums run in the
// order of the depth, for any tile: γ(depth)·Σ|a||b|.
#pragma once

#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// Of 16 registers twelve hold sums, three B and one an element of A; of 32 sixteen hold sums.
constexpr int kGemmRows = 4, kGemmVectors = kLanes == 16 ? 4 : 3;

template <int rows, int vectors>
[[gnu::always_inline]] inline void gemm_tile(const GemmArgs& a, int64_t row, int64_t column) {
  Vec sums[rows][vectors];
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < vectors; ++v) sums[r][v] = splat(0.0f);
  const float *x = a.a + row * a.a_row, *b = a.b + column;
  for (int64_t k = 0; k < a.depth; ++k, x += a.a_column, b += a.b_row) {
    Vec wide[vectors];
    for (int v = 0; v < vectors; ++v) wide[v] = load(b + v * kLanes);
    for (int r = 0; r < rows; ++r) {
      const Vec element = splat(x[r * a.a_row]);
      for (int v = 0; v < vectors; ++v) sums[r][v] = fma(element, wide[v], sums[r][v]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    float* const y = a.y + (row + r) * a.y_row + column;
    for (int v = 0; v < vectors; ++v) {
      const int64_t left = a.columns - column - v * kLanes;
      if (left >= kLanes) {
        store(y + v * kLanes, sums[r][v]);
        continue;
      }
      float last[kLanes];
      store(last, sums[r][v]);
      for (int64_t i = 0; i < left; ++i) y[v * kLanes + i] = last[i];
    }
  }
}

template <int vectors>
[[gnu::always_inline]] inline void gemm_columns(const GemmArgs& a, int64_t column) {
  int64_t row = 0;
  for (; row + kGemmRows <= a.rows; row += kGemmRows) gemm_tile<kGemmRows, vectors>(a, row, column);
  for (; row < a.rows; ++row) gemm_tile<1, vectors>(a, row, column);
}

void gemm(const GemmArgs& args) {
  const GemmArgs a = args;
  int64_t column = 0;
  for (; a.columns - column > (kGemmVectors - 1) * kLanes; column += kGemmVectors * kLanes)
    gemm_columns<kGemmVectors>(a, column);
  if constexpr (kGemmVectors == 4)
    for (; a.columns - column > 2 * kLanes; column += 3 * kLanes) gemm_columns<3>(a, column);
  for (; a.columns - column > kLanes; column += 2 * kLanes) gemm_columns<2>(a, column);
  if (column < a.columns) gemm_columns<1>(a, column);
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
