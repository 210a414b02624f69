// CSR times a vector: y = W·x.
//
// Method   One row at a time, sixteen weights at a time: four elements of x are gathered by inserts, four sums run side by side
//          and are added at the end.
// Cost     per four stored weights: five float loads, one or four index loads, three inserts, one fma.
// Error    at most γ(k + 3)·Σ|w||x| per output, k = stored weights in the row; the order depends on k alone.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// The elements of x that four columns name. Sixteen-bit columns come in one load: what limits the loop is loads.
inline Quad gather_columns(const float* x, const uint16_t* columns) {
  uint64_t four;
  __builtin_memcpy(&four, columns, sizeof(four));
  return gather_quad(x, four & 0xffff, four >> 16 & 0xffff, four >> 32 & 0xffff, four >> 48);
}

inline Quad gather_columns(const float* x, const uint32_t* columns) {
  return gather_quad(x, columns[0], columns[1], columns[2], columns[3]);
}

template <class Column>
void csr_gemv(const CsrGemvArgs<Column>& args) {
  const float* x = args.x;
  const float* w = args.values;
  const Column* c = args.columns;
  for (int64_t row = 0; row < args.rows; ++row) {
    int64_t i = args.row_starts[row];
    const int64_t end = args.row_starts[row + 1];
    Quad sum0 = zero_quad(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    for (; i + 16 <= end; i += 16) {
      sum0 = fma_quad(load_quad(w + i), gather_columns(x, c + i), sum0);
      sum1 = fma_quad(load_quad(w + i + 4), gather_columns(x, c + i + 4), sum1);
      sum2 = fma_quad(load_quad(w + i + 8), gather_columns(x, c + i + 8), sum2);
      sum3 = fma_quad(load_quad(w + i + 12), gather_columns(x, c + i + 12), sum3);
    }
    for (; i + 4 <= end; i += 4) sum0 = fma_quad(load_quad(w + i), gather_columns(x, c + i), sum0);
    float sum = args.bias ? args.bias[row] : 0.0f;
    for (; i < end; ++i) sum = fma(w[i], x[c[i]], sum);
    sum += sum_quad(add_quad(add_quad(sum0, sum1), add_quad(sum2, sum3)));
    args.y[row * args.y_stride] = activate(sum, args.activation);
  }
}

void csr_gemv16(const CsrGemvArgs<uint16_t>& args) { csr_gemv(args); }
void csr_gemv32(const CsrGemvArgs<uint32_t>& args) { csr_gemv(args); }

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
