// CSR times one column without gathering: eight rows at a time, their next weights where windows of x meet them.
//
// Method   A window is eight neighbouring elements of x in a register; a permutation hands every row the one its weight wants.
//          Windows begin where the row that is furthest behind goes on, so rows need more steps than weights (twice as many at
//          a tenth of density, 1.2 times at half), but a step costs what three gathered elements do.
// Cost     per step of eight rows: four loads, one shift, one permutation, one fma.
// Error    at most γ(k + 4)·Σ|w||x| per output, k = stored weights in the row: a step without one of its weights adds zero,
//          which rounds nothing. The order depends on the columns of the slice alone.
// Refuses  nothing; a slice whose sum is not finite is computed again row by row, for a row without a weight in a step
//          multiplies zero with what another row reads.
// Source   own; rows side by side in slices as in SELL-C-σ (Kreutzer et al., 2014).
#pragma once

#include "csr_gemv.hpp"
#include "narrow.hpp"
#include "simd.hpp"
#include "table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

template <class Value>
[[gnu::always_inline]] inline Oct slice_times_one(const Value* values, const uint32_t* steps, int64_t count, const float* x) {
  Oct sum0 = splat_oct(0.0f), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  const auto step = [&](Oct& sum, int64_t i) {
    uint8_t moved;
    __builtin_memcpy(&moved, reinterpret_cast<const char*>(steps + i) + 3, 1);  // a load: shifting the word costs more
    x += moved;
    sum = fma_oct(load_oct(values + kSliceRows * i), pick_of_eight(x, steps + i), sum);
  };
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    fetch(values + kSliceRows * i);
    if constexpr (sizeof(Value) == sizeof(float)) fetch(values + kSliceRows * (i + 2));
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
    const int64_t row = slice * kSliceRows, begin = a.slice_starts[slice];
    const int64_t from = row < a.first_row ? a.first_row - row : 0, to = last - row < kSliceRows ? last - row : kSliceRows;
    const Oct sum = slice_times_one(a.values + kSliceRows * begin, a.steps + begin, a.slice_starts[slice + 1] - begin, n.x);
    if (all_finite(sum)) {
      finish_slice(n, row - a.first_row, from, to, sum);
      continue;
    }
    for (int64_t i = row + from; i < row + to; ++i) {
      const int64_t first = a.plain.row_starts[i], count = a.plain.row_starts[i + 1] - first;
      finish_one(n, i - a.first_row, 0, csr_times_one(a.plain.values + first, a.plain.columns + first, count, n.x));
    }
  }
}

void csr_windows_float32(const CsrWindowsArgs<float>& args) { csr_windows(args); }
void csr_windows_bfloat16(const CsrWindowsArgs<BFloat16>& args) { csr_windows(args); }
void csr_windows_float16(const CsrWindowsArgs<Float16>& args) { csr_windows(args); }

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
