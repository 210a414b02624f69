// One plane of a depthwise convolution, k × k with every tap stored, k = 3, 5 or 7, stride 1 or 2: y = act(w ∗ x + b).
//
// Method   a block of output rows, one vector wide, stays in registers while the input rows pass by; each vector that is loaded
//          serves every output row that it is a tap of. x is read where it lies: masked loads stand for the padding.
//          Blocks at the far edges begin early enough to be whole, and compute some outputs twice.
// Cost     per input row and vector k loads, and k² fma per output; of stride 2 each load is two and a permutation.
// Error    at most γ(k² + 1)·Σ|w||x| per output, summed in the order of taps.
#pragma once

#include "kernels/elementwise/activation.hpp"
#include "kernels/simd/lanes.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// One input vector of each tap in a row; kStride apart where they are read.
template <int kStride>
struct TapLanes {
  Lanes low, high;  // `high` of stride 2 only
};

template <int kStride>
[[gnu::always_inline]] inline TapLanes<kStride> tap_lanes(int64_t column, int64_t width) {
  return {lanes_in(-column, width - column),
          kStride == 1 ? Lanes{} : lanes_in(1 - kLanes - column, width - column - kLanes + 1)};
}

template <int kStride, bool kInside>
[[gnu::always_inline]] inline Vec load_tap(const float* p, const TapLanes<kStride>& lanes) {
  if constexpr (kStride == 1)
    return kInside ? load(p) : load_lanes(p, lanes.low);
  else
    return kInside ? evens(p) : evens_of(load_lanes(p, lanes.low), load_lanes(p + kLanes - 1, lanes.high));
}

// kRows output rows, one vector wide. x: the first tap's column in row 0 of the plane.
template <int kSize, int kStride, int kRows, bool kInside>
[[gnu::always_inline]] inline void depthwise_block(const DepthwiseArgs& a, const float* x,
                                                   const TapLanes<kStride> (&lanes)[kSize], int64_t first_row, float* y,
                                                   int64_t outputs) {
  Vec sum[kRows];
  for (int r = 0; r < kRows; ++r) sum[r] = splat(a.bias);
#pragma GCC unroll 32
  for (int in = 0; in < (kRows - 1) * kStride + kSize; ++in) {
    const int64_t row = first_row + in;
    Vec taps[kSize];
    if (row >= 0 && row < a.height) {
#pragma GCC unroll 8
      for (int j = 0; j < kSize; ++j) taps[j] = load_tap<kStride, kInside>(x + row * a.x_row + j, lanes[j]);
    } else {
#pragma GCC unroll 8
      for (int j = 0; j < kSize; ++j) taps[j] = splat(0.0f);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const int i = in - r * kStride;
      if (i < 0 || i >= kSize) continue;
#pragma GCC unroll 8
      for (int j = 0; j < kSize; ++j) sum[r] = fma(taps[j], splat(a.taps[i * kSize + j]), sum[r]);
    }
  }
  activate(sum, a.activation);
  if (outputs >= kLanes) {
    for (int r = 0; r < kRows; ++r) store(y + r * a.y_row, sum[r]);
  } else {
    for (int r = 0; r < kRows; ++r) store_first(y + r * a.y_row, sum[r], outputs);
  }
}

template <int kSize, int kStride, bool kInside>
[[gnu::noinline]] void depthwise_column(const DepthwiseArgs& args, int64_t first) {
  const DepthwiseArgs a = args;
  // As many sums as leave room for a row's taps.
  constexpr int kRows = kSize == 5 || (kLanes == 16 && kSize == 3) ? 7 : 4;
  const int64_t column = first * kStride - a.pad_left;
  TapLanes<kStride> lanes[kSize];
  for (int j = 0; j < kSize; ++j) lanes[j] = tap_lanes<kStride>(column + j, a.width);
  const float* const x = a.x + column;
  int64_t row = 0;
  for (; row + kRows <= a.rows; row += kRows)
    depthwise_block<kSize, kStride, kRows, kInside>(a, x, lanes, a.first_row + row * kStride, a.y + row * a.y_row + first,
                                                    a.columns - first);
  if (row == a.rows) return;
  if (a.rows >= kRows) {
    row = a.rows - kRows;
    depthwise_block<kSize, kStride, kRows, kInside>(a, x, lanes, a.first_row + row * kStride, a.y + row * a.y_row + first,
                                                    a.columns - first);
    return;
  }
  for (; row < a.rows; ++row)
    depthwise_block<kSize, kStride, 1, kInside>(a, x, lanes, a.first_row + row * kStride, a.y + row * a.y_row + first,
                                                a.columns - first);
}

template <int kSize, int kStride>
[[gnu::always_inline]] inline void depthwise(const DepthwiseArgs& a) {
  for (int64_t first = 0; first < a.columns; first += kLanes) {
    if (first + kLanes > a.columns && a.columns >= kLanes) first = a.columns - kLanes;
    const int64_t column = first * kStride - a.pad_left;
    // What a block loads, stores and all.
    const bool inside = column >= 0 && column + kSize + (kLanes - 1) * kStride <= a.width;
    if (inside)
      depthwise_column<kSize, kStride, true>(a, first);
    else
      depthwise_column<kSize, kStride, false>(a, first);
  }
}

void depthwise_plane(const DepthwiseArgs& args) {
  switch (args.size * 2 + args.stride) {
    case 7: return depthwise<3, 1>(args);
    case 8: return depthwise<3, 2>(args);
    case 11: return depthwise<5, 1>(args);
    case 12: return depthwise<5, 2>(args);
    case 15: return depthwise<7, 1>(args);
    case 16: return depthwise<7, 2>(args);
    default: return;
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
