// CSR times a vector: y = W·x.
//
// Method   One row at a time; four sums run side by side, which hides the latency of an addition, and are added at the end.
// Cost     per stored weight: two float loads, one index load, one fma.
// Error    at most γ(k + 3)·Σ|w||x| per output, k = stored weights in the row; the order depends on k alone.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

template <class Column>
void csr_gemv(const CsrGemvArgs<Column>& args) {
  const float* x = args.x;
  for (int64_t row = 0; row < args.rows; ++row) {
    int64_t i = args.row_starts[row];
    const int64_t end = args.row_starts[row + 1];
    const float* w = args.values;
    const Column* c = args.columns;
    float sum0 = args.bias ? args.bias[row] : 0.0f;
    float sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
    for (; i + 4 <= end; i += 4) {
      sum0 = fma(w[i], x[c[i]], sum0);
      sum1 = fma(w[i + 1], x[c[i + 1]], sum1);
      sum2 = fma(w[i + 2], x[c[i + 2]], sum2);
      sum3 = fma(w[i + 3], x[c[i + 3]], sum3);
    }
    for (; i < end; ++i) sum0 = fma(w[i], x[c[i]], sum0);
    args.y[row * args.y_stride] = activate((sum0 + sum1) + (sum2 + sum3), args.activation);
  }
}

void csr_gemv16(const CsrGemvArgs<uint16_t>& args) { csr_gemv(args); }
void csr_gemv32(const CsrGemvArgs<uint32_t>& args) { csr_gemv(args); }

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
