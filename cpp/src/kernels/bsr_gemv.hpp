// Blocks times one to eight columns: Y = W·X, bound by the bytes of W.
//
// Method   A column of a block is a vector of weights that share one element of x: no gathering. Eight, four or one rows of a
//          block row at a time; one column of X: four sums side by side, taken in turn; more: a sum of eight lanes per row.
// Cost     one column, per eight stored weights: one load, one splat, one fma; more, per stored weight: one splat, one fma.
// Error    at most γ(k + 4)·Σ|w||x| per output, k = stored weights in the row; the order depends on the matrix alone.
#pragma once

#include "narrow.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

struct EightRows {
  static constexpr int kRows = 8;
  using Sum = Oct;
  static Sum zero() { return splat_oct(0.0f); }
  static Sum fma(const float* w, float x, Sum sum) { return fma_oct(load_oct(w), splat_oct(x), sum); }
  static Sum add(Sum a, Sum b) { return add_oct(a, b); }
  static void store(float* p, Sum sum) { store_oct(p, sum); }
};

struct FourRows {
  static constexpr int kRows = 4;
  using Sum = Quad;
  static Sum zero() { return zero_quad(); }
  static Sum fma(const float* w, float x, Sum sum) { return fma_quad(load_quad(w), splat_quad(x), sum); }
  static Sum add(Sum a, Sum b) { return add_quad(a, b); }
  static void store(float* p, Sum sum) { store_quad(p, sum); }
};

struct OneRow {
  static constexpr int kRows = 1;
  using Sum = float;
  static Sum zero() { return 0.0f; }
  static Sum fma(const float* w, float x, Sum sum) { return SPARSE_ENGINE_ISA::fma(*w, x, sum); }
  static Sum add(Sum a, Sum b) { return a + b; }
  static void store(float* p, Sum sum) { *p = sum; }
};

// Rows [inside, inside + kRows) of one block row; `row` is the first of them in y.
template <class Rows>
void block_rows_times_one(const BsrGemvArgs& a, int64_t begin, int64_t end, int64_t inside, int64_t row) {
  const int64_t height = a.block_height, width = a.block_width;
  const float* w = a.values + begin * height * width + inside;
  typename Rows::Sum sum[4] = {Rows::zero(), Rows::zero(), Rows::zero(), Rows::zero()};
  int64_t block = begin;
  if (width == 1) {
    for (; block + 4 <= end; block += 4, w += 4 * height)
      for (int s = 0; s < 4; ++s) sum[s] = Rows::fma(w + s * height, a.narrow.x[a.block_columns[block + s]], sum[s]);
  }
  for (; block < end; ++block) {
    const float* x = a.narrow.x + int64_t{a.block_columns[block]} * width;
    int64_t c = 0;
    for (; c + 4 <= width; c += 4, w += 4 * height)
      for (int s = 0; s < 4; ++s) sum[s] = Rows::fma(w + s * height, x[c + s], sum[s]);
    for (; c < width; ++c, w += height) sum[0] = Rows::fma(w, x[c], sum[0]);
  }
  float sums[Rows::kRows];
  Rows::store(sums, Rows::add(Rows::add(sum[0], sum[1]), Rows::add(sum[2], sum[3])));
  for (int r = 0; r < Rows::kRows; ++r) finish_one(a.narrow, row + r, 0, sums[r]);
}

template <int kRows>
void block_rows_times_eight(const BsrGemvArgs& a, int64_t begin, int64_t end, int64_t inside, int64_t row) {
  const int64_t height = a.block_height, width = a.block_width;
  const float* w = a.values + begin * height * width + inside;
  Oct sum[kRows];
  for (int r = 0; r < kRows; ++r) sum[r] = splat_oct(0.0f);
  for (int64_t block = begin; block < end; ++block) {
    const float* x = a.narrow.x + int64_t{a.block_columns[block]} * width * 8;
    for (int64_t c = 0; c < width; ++c, w += height) {
      const Oct x_row = load_oct(x + c * 8);
      for (int r = 0; r < kRows; ++r) sum[r] = fma_oct(splat_oct(w[r]), x_row, sum[r]);
    }
  }
  for (int r = 0; r < kRows; ++r) finish_eight(a.narrow, row + r, sum[r]);
}

void bsr_gemv(const BsrGemvArgs& args) {
  const BsrGemvArgs a = args;
  const bool one = a.narrow.columns == 1;
  for (int64_t first = 0; first < a.narrow.rows; first += a.block_height) {
    const int64_t block_row = first / a.block_height;
    const int64_t begin = a.block_starts[block_row], end = a.block_starts[block_row + 1];
    int64_t inside = 0;
    if (one) {
      for (; inside + 8 <= a.block_height; inside += 8) block_rows_times_one<EightRows>(a, begin, end, inside, first + inside);
      for (; inside + 4 <= a.block_height; inside += 4) block_rows_times_one<FourRows>(a, begin, end, inside, first + inside);
      for (; inside < a.block_height; ++inside) block_rows_times_one<OneRow>(a, begin, end, inside, first + inside);
    } else {
      for (; inside + 4 <= a.block_height; inside += 4) block_rows_times_eight<4>(a, begin, end, inside, first + inside);
      for (; inside < a.block_height; ++inside) block_rows_times_eight<1>(a, begin, end, inside, first + inside);
    }
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
