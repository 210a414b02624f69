// One row of a pooled plane.
//
// Method   the rows under a window are folded into one, a vector at a time, then the columns under every window likewise: of
//          stride 1 and 2 those alone that are outputs, of others all, and the outputs are picked.
// Cost     kernel_h + kernel_w vectors loaded for each vector of the input's width, and a float for each output.
// Error    maxima are exact, and NaN where the window holds one. Averages: n floats summed one after another and a product,
//          n·u·Σ|x| / n.
#pragma once

#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

template <bool kMaximum>
[[gnu::always_inline]] inline Vec fold(Vec v, Vec x) {
  return kMaximum ? max_or_nan(v, x) : add(v, x);
}
template <bool kMaximum>
[[gnu::always_inline]] inline float fold(float v, float x) {
  return kMaximum ? (v == v && (x > v || x != x) ? x : v) : v + x;
}

template <bool kMaximum>
inline void pool(const PoolRowArgs& args) {
  const PoolRowArgs a = args;
  const float outside = kMaximum ? -__builtin_inff() : 0.0f;
  for (int64_t i = 0; i < a.pad_left; ++i) a.folded[i] = outside;
  for (int64_t i = 0; i < a.pad_right; ++i) a.folded[a.pad_left + a.width + i] = outside;
  float* const inside = a.folded + a.pad_left;
  int64_t i = 0;
  for (; i + kLanes <= a.width; i += kLanes) {
    Vec v = splat(outside);
    for (int64_t row = 0; row < a.rows; ++row) v = fold<kMaximum>(v, load(a.x + row * a.row_stride + i));
    store(inside + i, v);
  }
  for (; i < a.width; ++i) {
    float v = outside;
    for (int64_t row = 0; row < a.rows; ++row) v = fold<kMaximum>(v, a.x[row * a.row_stride + i]);
    inside[i] = v;
  }
  const float* const folded = a.folded;
  if (a.stride_w <= 2) {
    const int64_t step = a.stride_w;
    int64_t out = 0;
    for (; out + kLanes <= a.outputs; out += kLanes) {
      const float* const window = folded + out * step;
      Vec v = step == 1 ? load(window) : evens(window);
      for (int64_t tap = 1; tap < a.kernel_w; ++tap)
        v = fold<kMaximum>(v, step == 1 ? load(window + tap) : evens(window + tap));
      store(a.y + out, kMaximum ? v : mul(v, load(a.scales + out)));
    }
    for (; out < a.outputs; ++out) {
      float v = folded[out * step];
      for (int64_t tap = 1; tap < a.kernel_w; ++tap) v = fold<kMaximum>(v, folded[out * step + tap]);
      a.y[out] = kMaximum ? v : v * a.scales[out];
    }
    return;
  }
  // Every window of neighbouring columns, in place: what is read lies ahead of what is written.
  const int64_t windows = a.pad_left + a.width + a.pad_right - a.kernel_w + 1;
  i = 0;
  for (; i + kLanes <= windows; i += kLanes) {
    Vec v = load(a.folded + i);
    for (int64_t tap = 1; tap < a.kernel_w; ++tap) v = fold<kMaximum>(v, load(a.folded + i + tap));
    store(a.folded + i, v);
  }
  for (; i < windows; ++i) {
    float v = a.folded[i];
    for (int64_t tap = 1; tap < a.kernel_w; ++tap) v = fold<kMaximum>(v, a.folded[i + tap]);
    a.folded[i] = v;
  }
  for (int64_t out = 0; out < a.outputs; ++out)
    a.y[out] = kMaximum ? a.folded[out * a.stride_w] : a.folded[out * a.stride_w] * a.scales[out];
}

void pool_row(const PoolRowArgs& args) {
  if (args.maximum)
    pool<true>(args);
  else
    pool<false>(args);
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
