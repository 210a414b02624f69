// n:m times one to eight columns: Y = W·X, bound by the bytes of W.
//
// Method   Two of four: eight rows at a time, two of them in a vector. Eight columns of x are two groups, one in each half of a
//          vector; of each, lanes 0 and 1 belong to the first row of the pair, 2 and 3 to the second, so that one permutation
//          within halves finds the x of all eight weights. It looks at the lowest two bits of a lane: a vector of positions
//          serves sixteen such steps, shifted by two bits between them.
//          Other n:m: weight by weight, positions taken from 32-bit words.
// Cost     two of four, one column, per eight stored weights: one load and a quarter, one shift, one permutation, one fma.
// Error    at most γ(k + 4)·Σ|w||x| per output, k = stored weights in the row; the order depends on the shape alone.
#pragma once

#include "kernels/gemv/epilogue.hpp"
#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

constexpr int kNmPairs = kNmStripRows / 2;
constexpr int64_t kNmSteps = 16;  // in a vector of positions

inline int64_t nm_rows(const SkinnyArgs& n, int64_t strip) {
  const int64_t left = n.rows - strip * kNmStripRows;
  return left < kNmStripRows ? left : kNmStripRows;
}

// One column of X. `end` is x's last eight elements, zeros where there are none.
inline void nm_strip_times_one(const NmQuadsArgs& a, const float* w, const uint32_t* positions, const float* end, F32x8* sum) {
  const int64_t steps = (a.cols + 7) / 8, whole = a.cols / 8;
  for (int64_t first = 0; first < steps; first += kNmSteps, positions += kNmPairs * 8) {
    Picks picks[kNmPairs];
    for (int p = 0; p < kNmPairs; ++p) picks[p] = load_picks(positions + p * 8);
    const int64_t last = first + kNmSteps < steps ? first + kNmSteps : steps;
    for (int64_t step = first; step < last; ++step, w += kNmPairs * 8) {
      const float* x = step < whole ? a.skinny.x + step * 8 : end;
      for (int p = 0; p < kNmPairs; ++p) {
        sum[p] = fma8(load8(w + p * 8), pick_in_halves(x, picks[p]), sum[p]);
        picks[p] = next_picks(picks[p]);
      }
    }
  }
}

inline void nm_strip_times_eight(const NmQuadsArgs& a, const float* w, const uint32_t* positions, int pair, F32x8* sum) {
  const int64_t groups = a.cols / 4;
  for (int64_t step = 0; step * 2 < groups; ++step) {
    const float* weights = w + (step * kNmPairs + pair) * 8;
    const uint32_t* words = positions + (step / kNmSteps * kNmPairs + pair) * 8;
    const int shift = static_cast<int>(step % kNmSteps) * 2;
    const int64_t halves = step * 2 + 1 < groups ? 2 : 1;
    for (int64_t half = 0; half < halves; ++half) {
      const float* x = a.skinny.x + (step * 2 + half) * 4 * 8;
      for (int lane = 0; lane < 4; ++lane) {
        const uint32_t position = words[half * 4 + lane] >> shift & 3;
        sum[lane] = fma8(splat8(weights[half * 4 + lane]), load8(x + position * 8), sum[lane]);
      }
    }
  }
}

void nm_gemv_quads(const NmQuadsArgs& args) {
  const NmQuadsArgs a = args;
  const SkinnyArgs& n = a.skinny;
  const int64_t steps = (a.cols + 7) / 8, chunks = (steps + kNmSteps - 1) / kNmSteps;
  float end[8] = {};
  if (n.columns == 1)
    for (int64_t i = a.cols / 8 * 8; i < a.cols; ++i) end[i % 8] = n.x[i];
  for (int64_t strip = 0; strip * kNmStripRows < n.rows; ++strip) {
    const float* w = a.values + strip * steps * kNmPairs * 8;
    const uint32_t* positions = a.positions + strip * chunks * kNmPairs * 8;
    const int64_t row = strip * kNmStripRows, rows = nm_rows(n, strip);
    if (n.columns == 1) {
      F32x8 sum[kNmPairs];
      for (int p = 0; p < kNmPairs; ++p) sum[p] = splat8(0.0f);
      nm_strip_times_one(a, w, positions, end, sum);
      float sums[kNmPairs * 8];
      for (int p = 0; p < kNmPairs; ++p) store8(sums + p * 8, sum[p]);
      for (int64_t r = 0; r < rows; ++r) {
        const float* s = sums + r / 2 * 8 + r % 2 * 2;
        finish_one(n, row + r, 0, (s[0] + s[1]) + (s[4] + s[5]));
      }
    } else {
      for (int p = 0; p * 2 < rows; ++p) {
        F32x8 sum[4] = {splat8(0.0f), splat8(0.0f), splat8(0.0f), splat8(0.0f)};
        nm_strip_times_eight(a, w, positions, p, sum);
        finish_eight(n, row + p * 2, add8(sum[0], sum[1]));
        if (p * 2 + 1 < rows) finish_eight(n, row + p * 2 + 1, add8(sum[2], sum[3]));
      }
    }
  }
}

// Any n:m; calls add(i, column) for every stored weight of a row.
template <class Add>
inline void nm_for_each(const NmArgs& a, const uint32_t* words, const Add& add) {
  const uint32_t mask = (1u << a.position_bits) - 1;
  const int in_word = 32 / a.position_bits;
  uint32_t word = 0;
  int left = 0, in_group = 0;
  int64_t group = 0;
  for (int64_t i = 0; i < a.row_values; ++i) {
    if (left == 0) {
      word = *words++;
      left = in_word;
    }
    add(i, group + (word & mask));
    word >>= a.position_bits;
    --left;
    if (++in_group == a.n) {
      in_group = 0;
      group += a.m;
    }
  }
}

void nm_gemv(const NmArgs& args) {
  const NmArgs a = args;
  const SkinnyArgs& n = a.skinny;
  for (int64_t row = 0; row < n.rows; ++row) {
    const float* w = a.values + row * a.row_values;
    const uint32_t* words = a.positions + row * a.row_words;
    if (n.columns == 1) {
      float sum[4] = {};
      nm_for_each(a, words, [&](int64_t i, int64_t column) { sum[i % 4] = fma(w[i], n.x[column], sum[i % 4]); });
      finish_one(n, row, 0, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    } else {
      F32x8 sum[2] = {splat8(0.0f), splat8(0.0f)};
      nm_for_each(a, words,
                  [&](int64_t i, int64_t column) { sum[i % 2] = fma8(splat8(w[i]), load8(n.x + column * 8), sum[i % 2]); });
      finish_eight(n, row, add8(sum[0], sum[1]));
    }
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
