// CSR times one to eight columns without gathering: eight rows at a time, their next weights where windows of x meet them.
//
// Method   A window is eight neighbouring elements of x in a register; a permutation hands every row the one its weight wants.
//          Windows begin where the row that is furthest behind goes on, so rows need more steps than weights (twice as many at
//          a tenth of density, 1.2 times at half), but a step costs what three gathered elements do.
//          A row without a weight in a step takes zero: stored where W stays in the cache, written by a shuffle
//          (gemv/expand.hpp) where it does not.
// Cost     per step of eight rows: three loads, one shift; without stored zeros two loads, two population counts (one of
//          sixteen-bit values) and a shuffle more, and half the bytes at a tenth of density. Per step and column: one load, one
//          permutation, one fma. A column lies by itself, so x is read in order however many there are.
// Error    at most γ(k + 4)·Σ|w||x| per output, k = stored weights in the row: a step without one of its weights adds zero,
//          which rounds nothing. The order depends on the columns of the slice, and how many columns X has.
// Refuses  nothing; a slice whose sum is not finite is computed again row by row, for a row without a weight in a step
//          multiplies zero with what another row reads.
// Source   own; rows side by side in slices as in SELL-C-σ (Kreutzer et al., 2014).
#pragma once

#include "kernels/gemv/csr.hpp"
#include "kernels/gemv/epilogue.hpp"
#include "kernels/gemv/expand.hpp"
#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// Hands out the eight values of step after step: all stored.
template <class Value>
struct PaddedValues {
  enum { kAhead = kFetchBytes };
  const Value* values;
  F32x8 next(int64_t) {
    const F32x8 eight = load8(values);
    values += kSliceRows;
    return eight;
  }
};

// Likewise, with zeros for the rows whose bit is 0.
template <class Value>
struct PackedValues {
  enum { kAhead = 2 * kFetchBytes };  // nearer, dense rows lost to stored zeros
  const Value* values;
  const uint8_t* stored;
  F32x8 next(int64_t step) {
    const uint64_t mask = uint64_t{stored[step]} << Expand<Value>::kShift;
    const F32x8 eight = Expand<Value>()(values, mask);
    values += __builtin_popcountll(mask);
    return eight;
  }
};

// Sums side by side of each column, as many as hide the latency of the fma.
template <int kColumns>
constexpr int kChains = kColumns <= 2   ? 4
                        : kColumns <= 4 ? 2
                                        : 1;

template <int kColumns, class Values>
[[gnu::always_inline]] inline void slice_times(Values weights, const uint32_t* steps, int64_t count, const float* x,
                                               int64_t x_stride, F32x8 (&sum)[kColumns]) {
  constexpr int kSums = kChains<kColumns>;
  F32x8 sums[kSums][kColumns];
  for (int chain = 0; chain < kSums; ++chain)
    for (int c = 0; c < kColumns; ++c) sums[chain][c] = splat8(0.0f);
  const auto step = [&](int chain, int64_t i) {
    uint8_t moved;
    __builtin_memcpy(&moved, reinterpret_cast<const char*>(steps + i) + 3, 1);  // a load: shifting the word costs more
    x += moved;
    const F32x8 weight = weights.next(i);
    const EightPicks picks = load_eight_picks(steps + i);
    for (int c = 0; c < kColumns; ++c) sums[chain][c] = fma8(weight, pick_of_eight(x + c * x_stride, picks), sums[chain][c]);
  };
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    fetch(weights.values, Values::kAhead);
    if constexpr (sizeof(*weights.values) == sizeof(float)) fetch(weights.values + 2 * kSliceRows, Values::kAhead);
    for (int next = 0; next < 4; ++next) step(next % kSums, i + next);
  }
  for (; i < count; ++i) step(0, i);
  for (int c = 0; c < kColumns; ++c) {
    for (int width = kSums; width > 1; width /= 2)
      for (int chain = 0; chain < width; chain += 2) sums[chain / 2][c] = add8(sums[chain][c], sums[chain + 1][c]);
    sum[c] = sums[0][c];
  }
}

// Rows [from, to) of a slice, counted from its first one; `row` is that one's number in n.
inline void finish_slice(const NarrowArgs& n, int64_t row, int64_t from, int64_t to, int64_t column, F32x8 sum) {
  if (to - from == kSliceRows && n.y_row_stride == 1 && n.activation == Activation::none) {
    const int64_t place = row + column * n.y_column_stride;
    if (n.bias) sum = add8(sum, load8(n.bias + row));
    if (n.residual) sum = add8(sum, load8(n.residual + place));
    return store8(n.y + place, sum);
  }
  float sums[kSliceRows];
  store8(sums, sum);
  for (int64_t i = from; i < to; ++i) finish_one(n, row + i, column, sums[i]);
}

template <int kColumns, class Value>
[[gnu::noinline]] void windows_times(const CsrWindowsArgs<Value>& args) {
  const CsrWindowsArgs<Value> a = args;
  const NarrowArgs& n = a.plain.narrow;
  const int64_t last = a.first_row + n.rows;
  for (int64_t slice = a.first_row / kSliceRows; slice * kSliceRows < last; ++slice) {
    const int64_t row = slice * kSliceRows, begin = a.slice_starts[slice], count = a.slice_starts[slice + 1] - begin;
    const int64_t from = row < a.first_row ? a.first_row - row : 0, to = last - row < kSliceRows ? last - row : kSliceRows;
    const Value* const values = a.values + a.value_starts[slice];
    F32x8 sums[kColumns];
    if (a.stored)
      slice_times<kColumns>(PackedValues<Value>{values, a.stored + begin}, a.steps + begin, count, n.x, a.x_stride, sums);
    else
      slice_times<kColumns>(PaddedValues<Value>{values}, a.steps + begin, count, n.x, a.x_stride, sums);
    for (int c = 0; c < kColumns; ++c) {
      if (all_finite(sums[c])) {
        finish_slice(n, row - a.first_row, from, to, c, sums[c]);
        continue;
      }
      for (int64_t i = row + from; i < row + to; ++i) {
        const int64_t first = a.plain.row_starts[i], weights = a.plain.row_starts[i + 1] - first;
        finish_one(n, i - a.first_row, c,
                   csr_times_one(a.plain.values + first, a.plain.columns + first, weights, n.x + c * a.x_stride));
      }
    }
  }
}

template <class Value>
void csr_windows(const CsrWindowsArgs<Value>& args) {
  switch (args.plain.narrow.columns) {
    case 1: return windows_times<1>(args);
    case 2: return windows_times<2>(args);
    case 3: return windows_times<3>(args);
    case 4: return windows_times<4>(args);
    case 5: return windows_times<5>(args);
    case 6: return windows_times<6>(args);
    case 7: return windows_times<7>(args);
    case 8: return windows_times<8>(args);
    default: return;
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
