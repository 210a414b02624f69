// CSR times one column without gathering: eight rows at a time, their next weights where windows of x meet them.
//
// Method   A window is eight neighbouring elements of x in a register; a permutation hands every row the one its weight wants.
//          Windows begin where the row that is furthest behind goes on, so rows need more steps than weights (twice as many at
//          a tenth of density, 1.2 times at half), but a step costs what three gathered elements do.
//          A row without a weight in a step takes zero: stored where W stays in the cache, written by a shuffle (expand.hpp)
//          where it does not.
// Cost     per step of eight rows: four loads, one shift, one permutation, one fma; without stored zeros two loads, two
//          population counts (one of sixteen-bit values) and a shuffle more, and half the bytes at a tenth of density.
// Error    at most γ(k + 4)·Σ|w||x| per output, k = stored weights in the row: a step without one of its weights adds zero,
//          which rounds nothing. The order depends on the columns of the slice alone.
// Refuses  nothing; a slice whose sum is not finite is computed again row by row, for a row without a weight in a step
//          multiplies zero with what another row reads.
// Source   own; rows side by side in slices as in SELL-C-σ (Kreutzer et al., 2014).
#pragma once

#include "csr_gemv.hpp"
#include "expand.hpp"
#include "narrow.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// Hands out the eight values of step after step: all stored.
template <class Value>
struct PaddedValues {
  enum { kAhead = kFetchBytes };
  const Value* values;
  Oct next(int64_t) {
    const Oct eight = load_oct(values);
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
  Oct next(int64_t step) {
    const uint64_t mask = uint64_t{stored[step]} << Expand<Value>::kShift;
    const Oct eight = Expand<Value>()(values, mask);
    values += __builtin_popcountll(mask);
    return eight;
  }
};

template <class Values>
[[gnu::always_inline]] inline Oct slice_times_one(Values weights, const uint32_t* steps, int64_t count, const float* x) {
  Oct sum0 = splat_oct(0.0f), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  const auto step = [&](Oct& sum, int64_t i) {
    uint8_t moved;
    __builtin_memcpy(&moved, reinterpret_cast<const char*>(steps + i) + 3, 1);  // a load: shifting the word costs more
    x += moved;
    sum = fma_oct(weights.next(i), pick_of_eight(x, steps + i), sum);
  };
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    fetch(weights.values, Values::kAhead);
    if constexpr (sizeof(*weights.values) == sizeof(float)) fetch(weights.values + 2 * kSliceRows, Values::kAhead);
    step(sum0, i);
    step(sum1, i + 1);
    step(sum2, i + 2);
    step(sum3, i + 3);
  }
  for (; i < count; ++i) step(sum0, i);
  return add_oct(add_oct(sum0, sum1), add_oct(sum2, sum3));
}

// Rows [from, to) of a slice, counted from its first one; `row` is that one's number in n.
inline void finish_slice(const NarrowArgs& n, int64_t row, int64_t from, int64_t to, Oct sum) {
  if (to - from == kSliceRows && n.y_row_stride == 1 && n.activation == Activation::none) {
    if (n.bias) sum = add_oct(sum, load_oct(n.bias + row));
    if (n.residual) sum = add_oct(sum, load_oct(n.residual + row));
    return store_oct(n.y + row, sum);
  }
  float sums[kSliceRows];
  store_oct(sums, sum);
  for (int64_t i = from; i < to; ++i) finish_one(n, row + i, 0, sums[i]);
}

template <class Value>
void csr_windows(const CsrWindowsArgs<Value>& args) {
  const CsrWindowsArgs<Value> a = args;
  const NarrowArgs& n = a.plain.narrow;
  const int64_t last = a.first_row + n.rows;
  for (int64_t slice = a.first_row / kSliceRows; slice * kSliceRows < last; ++slice) {
    const int64_t row = slice * kSliceRows, begin = a.slice_starts[slice], count = a.slice_starts[slice + 1] - begin;
    const int64_t from = row < a.first_row ? a.first_row - row : 0, to = last - row < kSliceRows ? last - row : kSliceRows;
    const Oct sum = a.stored
                        ? slice_times_one(PackedValues<Value>{a.values + a.value_starts[slice], a.stored + begin},
                                          a.steps + begin, count, n.x)
                        : slice_times_one(PaddedValues<Value>{a.values + a.value_starts[slice]}, a.steps + begin, count, n.x);
    if (all_finite(sum)) {
      finish_slice(n, row - a.first_row, from, to, sum);
      continue;
    }
    for (int64_t i = row + from; i < row + to; ++i) {
      const int64_t first = a.plain.row_starts[i], weights = a.plain.row_starts[i + 1] - first;
      finish_one(n, i - a.first_row, 0, csr_times_one(a.plain.values + first, a.plain.columns + first, weights, n.x));
    }
  }
}

void csr_windows_float32(const CsrWindowsArgs<float>& args) { csr_windows(args); }
void csr_windows_bfloat16(const CsrWindowsArgs<BFloat16>& args) { csr_windows(args); }
void csr_windows_float16(const CsrWindowsArgs<Float16>& args) { csr_windows(args); }

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
