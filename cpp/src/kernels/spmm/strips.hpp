// Strips of rows that share their columns, times a panel: Y = W·X for one tile and one block of columns, as in spmm.hpp.
//
// Method   One strip and as many vectors of columns at a time as registers hold sums for, so a load of X serves every row of
//          the strip; the strip's weights are read again for the next vectors, from the L1 cache.
// Cost     per strip of four weights and three vectors: three loads, four splats, one integer load, twelve fma: bound by the
//          fma, also where every second load of X straddles two cache lines.
// Error    at most γ(k + 1)·Σ|w||x| per output, k = stored weights in the row; the order of summation is the order of columns.
// Source   Vuduc, "Automatic Performance Tuning of Sparse Matrix Kernels", 2003 (register blocking).
#pragma once

#include "kernels/elementwise/activation.hpp"
#include "kernels/simd/simd.hpp"
#include "kernels/spmm/spmm.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

template <int height, int kVectors>
[[gnu::always_inline]] inline void add_strip(const TileEntry<height>& entry, const float* x, Vec (&sum)[height][kVectors]) {
  Vec x_row[kVectors];
  for (int v = 0; v < kVectors; ++v) x_row[v] = load(x + entry.offset + v * kLanes);
  for (int r = 0; r < height; ++r) {
    const Vec weight = splat(entry.values[r]);
    for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(weight, x_row[v], sum[r][v]);
  }
}

template <int height, int kVectors>
[[gnu::always_inline]] inline void strip_columns(const SpmmArgs<height>& a, uint32_t strip, int column) {
  const float* x = pinned(a.x + column);
  const int64_t first_row = int64_t{a.order[strip]} * height;
  Vec sum[height][kVectors];
  for (int r = 0; r < height; ++r) {
    const float* sums = a.sums ? a.sums + (first_row + r) * a.sums_row_stride + column : nullptr;
    for (int v = 0; v < kVectors; ++v) sum[r][v] = sums ? load(sums + v * kLanes) : splat(0.0f);
    if (a.bias)
      for (int v = 0; v < kVectors; ++v) sum[r][v] = add(sum[r][v], splat(a.bias[first_row + r]));
  }
  const TileEntry<height>* const end = a.entries + a.strip_starts[strip + 1];
  for (const TileEntry<height>* entry = a.entries + a.strip_starts[strip]; entry != end; ++entry)
    add_strip<height, kVectors>(*entry, x, sum);
  for (int r = 0; r < height; ++r) {
    float* y = a.y + (first_row + r) * a.y_row_stride + column;
    activate(sum[r], a.activation);
    for (int v = 0; v < kVectors; ++v) store(y + v * kLanes, sum[r][v]);
  }
}

// Vectors at a time: of 16 registers twelve hold sums, three X and one a weight.
template <int height>
constexpr int kStripVectors = kLanes == 16  ? 4
                              : height == 4 ? 3
                                            : 4;

template <int height>
[[gnu::always_inline]] inline void spmm_strips(const SpmmArgs<height>& args) {
  constexpr int kMost = kStripVectors<height>;
  const SpmmArgs<height> a = args;
  const int vectors = static_cast<int>(a.width) / kLanes;
  for (uint32_t strip = 0; strip < a.strips; ++strip) {
    if (a.fetch_y) {
      const int64_t first_row = int64_t{a.order[strip + 1]} * height;
      for (int r = 0; r < height; ++r)
        for (int64_t c = 0; c < a.width; c += kLineFloats) __builtin_prefetch(a.y + (first_row + r) * a.y_row_stride + c, 1);
    }
    if (a.from_afar) ask_ahead(a.entries + a.strip_starts[strip], a.entries + a.strip_starts[strip + 1]);
    int done = 0;
    // Four as two and two rather than three and one, for one vector alone waits for its sums.
    for (; vectors - done >= kMost && !(kMost == 3 && vectors - done == 4); done += kMost)
      strip_columns<height, kMost>(a, strip, done * kLanes);
    for (; vectors - done >= 2; done += 2) strip_columns<height, 2>(a, strip, done * kLanes);
    if (done < vectors) strip_columns<height, 1>(a, strip, done * kLanes);
  }
}

void spmm_strips2(const SpmmArgs<2>& args) { spmm_strips(args); }
void spmm_strips4(const SpmmArgs<4>& args) { spmm_strips(args); }

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
