// CSR times a panel: Y = W·X for one tile of rows and one block of columns. X dense, up to 64 columns wide.
//
// Method   One row at a time, up to eight vectors of columns in registers; the block of X stays in the L1 cache. A stored
//          weight finds its row of X through a table of offsets, which is all that sets a convolution apart.
// Cost     per stored weight: one splat and two integer loads; per stored weight and vector: one load, one fma.
// Error    at most γ(k + 1)·Σ|w||x| per output, k = stored weights in the row; the order of summation is the order of columns.
// Source   Elsen et al., "Fast Sparse ConvNets", CVPR 2020.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

template <int kVectors>
void csr_spmm_columns(const CsrSpmmArgs& args, int first_column) {
  const float* x = args.x + first_column;
  const float* sums = args.sums + first_column;
  float* y = args.y + first_column;
  for (uint32_t row = 0; row < args.rows; ++row, sums += args.sums_row_stride, y += args.y_row_stride) {
    Vec sum[kVectors];
    if (args.first) {
      const Vec start = splat(args.bias ? args.bias[row] : 0.0f);
      for (int v = 0; v < kVectors; ++v) sum[v] = start;
    } else {
      for (int v = 0; v < kVectors; ++v) sum[v] = load(sums + v * kLanes);
    }
    const uint32_t end = args.row_starts[row + 1];
    for (uint32_t i = args.row_starts[row]; i < end; ++i) {
      const Vec weight = splat(args.values[i]);
      const float* x_row = x + args.offsets[args.columns[i]];
      for (int v = 0; v < kVectors; ++v) sum[v] = fma(weight, load(x_row + v * kLanes), sum[v]);
    }
    for (int v = 0; v < kVectors; ++v) store(y + v * kLanes, activate(sum[v], args.activation));
  }
}

void csr_spmm(const CsrSpmmArgs& args) {
  constexpr int kMaxVectors = 8;
  int column = 0;
  int vectors = static_cast<int>(args.width) / kLanes;
  for (; vectors > kMaxVectors; vectors -= kMaxVectors, column += kMaxVectors * kLanes)
    csr_spmm_columns<kMaxVectors>(args, column);
  switch (vectors) {
    case 1: return csr_spmm_columns<1>(args, column);
    case 2: return csr_spmm_columns<2>(args, column);
    case 3: return csr_spmm_columns<3>(args, column);
    case 4: return csr_spmm_columns<4>(args, column);
    case 5: return csr_spmm_columns<5>(args, column);
    case 6: return csr_spmm_columns<6>(args, column);
    case 7: return csr_spmm_columns<7>(args, column);
    case 8: return csr_spmm_columns<8>(args, column);
    default: return;
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
