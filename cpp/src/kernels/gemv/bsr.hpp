// Blocks times one to eight columns: Y = W·X, bound by the bytes of W.
//
// Method   A column of a block is a vector of weights that share one element of x: no gathering. Eight, four or one rows of a
//          block row at a time; one column of X: four sums side by side, taken in turn; more: a sum of eight lanes per row.
// Cost     one column, per eight stored weights: one load, one splat, one fma; more, per stored weight: one splat, one fma.
// Error    at most γ(k + 4)·Σ|w||x| per output, k = stored weights in the row; the order depends on the matrix alone.
#pragma once

#include "kernels/gemv/epilogue.hpp"
#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// A column of eight, four or one rows of a block, times one element of x.
inline F32x8 add_rows(const float* w, float x, F32x8 sum) { return fma8(load8(w), splat8(x), sum); }
inline F32x4 add_rows(const float* w, float x, F32x4 sum) { return fma4(load4(w), splat4(x), sum); }
inline float add_rows(const float* w, float x, float sum) { return fma(*w, x, sum); }

inline F32x8 both(F32x8 a, F32x8 b) { return add8(a, b); }
inline F32x4 both(F32x4 a, F32x4 b) { return add4(a, b); }
inline float both(float a, float b) { return a + b; }

inline void store_rows(float* p, F32x8 sum) { store8(p, sum); }
inline void store_rows(float* p, F32x4 sum) { store4(p, sum); }
inline void store_rows(float* p, float sum) { *p = sum; }

// Rows from `inside` on of one block row; `row` is the first of them in y.
template <class Sum>
void block_rows_times_one(const BsrGemvArgs& a, int64_t begin, int64_t end, int64_t inside, int64_t row) {
  const int64_t height = a.block_height, width = a.block_width;
  const float* w = a.values + begin * height * width + inside;
  Sum sum[4] = {};
  int64_t block = begin;
  if (width == 1) {
    for (; block + 4 <= end; block += 4, w += 4 * height)
      for (int s = 0; s < 4; ++s) sum[s] = add_rows(w + s * height, a.skinny.x[a.block_columns[block + s]], sum[s]);
  }
  for (; block < end; ++block) {
    const float* x = a.skinny.x + int64_t{a.block_columns[block]} * width;
    int64_t c = 0;
    for (; c + 4 <= width; c += 4, w += 4 * height)
      for (int s = 0; s < 4; ++s) sum[s] = add_rows(w + s * height, x[c + s], sum[s]);
    for (; c < width; ++c, w += height) sum[0] = add_rows(w, x[c], sum[0]);
  }
  constexpr int kRows = sizeof(Sum) / sizeof(float);
  float sums[kRows];
  store_rows(sums, both(both(sum[0], sum[1]), both(sum[2], sum[3])));
  for (int r = 0; r < kRows; ++r) finish_one(a.skinny, row + r, 0, sums[r]);
}

template <int kRows>
void block_rows_times_eight(const BsrGemvArgs& a, int64_t begin, int64_t end, int64_t inside, int64_t row) {
  const int64_t height = a.block_height, width = a.block_width;
  const float* w = a.values + begin * height * width + inside;
  F32x8 sum[kRows];
  for (int r = 0; r < kRows; ++r) sum[r] = splat8(0.0f);
  for (int64_t block = begin; block < end; ++block) {
    const float* x = a.skinny.x + int64_t{a.block_columns[block]} * width * 8;
    for (int64_t c = 0; c < width; ++c, w += height) {
      const F32x8 x_row = load8(x + c * 8);
      for (int r = 0; r < kRows; ++r) sum[r] = fma8(splat8(w[r]), x_row, sum[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) finish_eight(a.skinny, row + r, sum[r]);
}

void bsr_gemv(const BsrGemvArgs& args) {
  const BsrGemvArgs a = args;
  const bool one = a.skinny.columns == 1;
  for (int64_t first = 0; first < a.skinny.rows; first += a.block_height) {
    const int64_t block_row = first / a.block_height;
    const int64_t begin = a.block_starts[block_row], end = a.block_starts[block_row + 1];
    int64_t inside = 0;
    if (one) {
      for (; inside + 8 <= a.block_height; inside += 8) block_rows_times_one<F32x8>(a, begin, end, inside, first + inside);
      for (; inside + 4 <= a.block_height; inside += 4) block_rows_times_one<F32x4>(a, begin, end, inside, first + inside);
      for (; inside < a.block_height; ++inside) block_rows_times_one<float>(a, begin, end, inside, first + inside);
    } else {
      for (; inside + 4 <= a.block_height; inside += 4) block_rows_times_eight<4>(a, begin, end, inside, first + inside);
      for (; inside < a.block_height; ++inside) block_rows_times_eight<1>(a, begin, end, inside, first + inside);
    }
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
