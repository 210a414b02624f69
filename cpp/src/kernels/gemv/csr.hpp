// CSR times one to eight columns: Y = W·X, bound by the bytes of W.
//
// Method   One row at a time. One column: four elements of x are gathered by inserts, sixteen weights a step, four sums side by
//          side; beyond the L1 cache x is taken block by block. More: a row of X is eight floats, four weights a step, four
//          sums of eight side by side.
// Cost     one column, per four stored weights: five float loads, one or four index loads, three inserts, one fma;
//          more, per stored weight: one splat, one index load, one load, one fma.
// Error    at most γ(k + 4)·Σ|w||x| per output, k = stored weights in the row; the order depends on the row's columns alone.
#pragma once

#include "kernels/gemv/epilogue.hpp"
#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// The elements of x that four columns name. Sixteen-bit columns come in one load: what limits the loop is loads.
inline F32x4 gather_columns(const float* x, const uint16_t* columns) {
  uint64_t four;
  __builtin_memcpy(&four, columns, sizeof(four));
  return gather4(x, four & 0xffff, four >> 16 & 0xffff, four >> 32 & 0xffff, four >> 48);
}

inline F32x4 gather_columns(const float* x, const uint32_t* columns) {
  return gather4(x, columns[0], columns[1], columns[2], columns[3]);
}

// Asks for what the loop reads this many bytes later: the processor's own prefetching stops at every page, and loses the
// weights among the reads of x where these miss the L1 cache.
constexpr int64_t kFetchBytes = 1024;
inline void fetch(const void* p, int64_t bytes = kFetchBytes) { __builtin_prefetch(static_cast<const char*>(p) + bytes); }

template <class Column, class Value>
[[gnu::always_inline]] inline float csr_times_one(const Value* w, const Column* c, int64_t count, const float* x) {
  F32x4 sum0 = zero4(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    fetch(w + i);
    fetch(c + i);
    sum0 = fma4(load4(w + i), gather_columns(x, c + i), sum0);
    sum1 = fma4(load4(w + i + 4), gather_columns(x, c + i + 4), sum1);
    sum2 = fma4(load4(w + i + 8), gather_columns(x, c + i + 8), sum2);
    sum3 = fma4(load4(w + i + 12), gather_columns(x, c + i + 12), sum3);
  }
  for (; i + 4 <= count; i += 4) sum0 = fma4(load4(w + i), gather_columns(x, c + i), sum0);
  // What follows the row are the next one's columns or zeros, so all four may be read.
  if (i < count) sum1 = fma4(first_lanes(load4(w + i), count - i), first_lanes(gather_columns(x, c + i), count - i), sum1);
  return sum4(add4(add4(sum0, sum1), add4(sum2, sum3)));
}

template <bool kFetch, class Column, class Value>
[[gnu::always_inline]] inline F32x8 csr_times_eight(const Value* w, const Column* c, int64_t count, const float* x) {
  F32x8 sum0 = splat8(0.0f), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    if constexpr (kFetch) {
      fetch(w + i);
      fetch(c + i);
    }
    sum0 = fma8(splat8(widen(w[i])), load8(x + int64_t{c[i]} * 8), sum0);
    sum1 = fma8(splat8(widen(w[i + 1])), load8(x + int64_t{c[i + 1]} * 8), sum1);
    sum2 = fma8(splat8(widen(w[i + 2])), load8(x + int64_t{c[i + 2]} * 8), sum2);
    sum3 = fma8(splat8(widen(w[i + 3])), load8(x + int64_t{c[i + 3]} * 8), sum3);
  }
  for (; i < count; ++i) sum0 = fma8(splat8(widen(w[i])), load8(x + int64_t{c[i]} * 8), sum0);
  return add8(add8(sum0, sum1), add8(sum2, sum3));
}

template <class Column, class Value, class Row>
[[gnu::always_inline]] inline void for_each_row(const CsrGemvArgs<Column, Value>& args, const Row& multiply) {
  const CsrGemvArgs<Column, Value> a = args;
  for (int64_t row = 0, begin = a.row_starts[0]; row < a.narrow.rows; ++row) {
    const int64_t end = a.row_starts[row + 1];
    multiply(a.narrow, row, a.values + begin, a.columns + begin, end - begin);
    begin = end;
  }
}

template <bool kFetch, class Column, class Value>
[[gnu::noinline]] void csr_eight(const CsrGemvArgs<Column, Value>& args) {
  for_each_row(args, [](const NarrowArgs& n, int64_t row, const Value* w, const Column* c, int64_t count) {
    finish_eight(n, row, csr_times_eight<kFetch>(w, c, count, n.x));
  });
}

template <class Column, class Value>
void csr_gemv(const CsrGemvArgs<Column, Value>& args) {
  if (args.narrow.columns > 1) return args.from_afar ? csr_eight<true>(args) : csr_eight<false>(args);
  for_each_row(args, [](const NarrowArgs& n, int64_t row, const Value* w, const Column* c, int64_t count) {
    finish_one(n, row, 0, csr_times_one(w, c, count, n.x));
  });
}

// A block of x stays in the L1 cache while the rows of a chunk pass over it.
template <class Column, class Value>
void csr_blocks(const CsrBlocksArgs<Column, Value>& args) {
  const CsrBlocksArgs<Column, Value> a = args;
  const int64_t last = a.first_row + a.narrow.rows;
  for (int64_t begin = a.first_row; begin < last;) {
    const int64_t chunk = begin / kCsrChunkRows, chunk_end = (chunk + 1) * kCsrChunkRows;
    const int64_t end = chunk_end < last ? chunk_end : last;
    float sums[kCsrChunkRows];
    for (int64_t block = 0; block < a.blocks; ++block) {
      const int64_t* starts = a.starts + (chunk * a.blocks + block) * kCsrChunkRows - chunk * kCsrChunkRows;
      for (int64_t row = begin; row < end; ++row) {
        const int64_t first = starts[row];
        const float sum = csr_times_one(a.values + first, a.columns + first, starts[row + 1] - first, a.narrow.x);
        sums[row - begin] = block == 0 ? sum : sums[row - begin] + sum;
      }
    }
    for (int64_t row = begin; row < end; ++row) finish_one(a.narrow, row - a.first_row, 0, sums[row - begin]);
    begin = end;
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
