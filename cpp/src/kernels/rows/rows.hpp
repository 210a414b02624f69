// What is computed of a whole row of numbers and of nothing else: its mean, softmax, layer norm (Ba et al., 2016), RMS norm
// (Zhang and Sennrich, 2019).
//
// Method   a row passes two or three times, while it lies in the L1 cache. Sums run in four chains of vectors, the rest of a
// row
//          one by one.
// Cost     a load an element and pass; of softmax about twenty operations more.
// Error    means: columns·u·Σ|x| / columns. softmax: relative, (columns + 12)·u and what x − max is rounded by, u·|x − max|.
//          Layer norm: two passes, so that nothing cancels but x − mean itself. RMS norm: relative, γ(columns + 8).
#pragma once

#include "kernels/elementwise/activation.hpp"
#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

inline float across(const Vec (&sums)[4]) {
  float lanes[kLanes];
  store(lanes, add(add(sums[0], sums[1]), add(sums[2], sums[3])));
  float sum = 0.0f;
  for (int lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
  return sum;
}

// Σ of(x[i]), `of` being the same for a vector and for a number.
template <class Of>
[[gnu::always_inline]] inline float sum_of(const float* x, int64_t columns, const Of& of) {
  Vec sums[4] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
  int64_t i = 0;
  for (; i + 4 * kLanes <= columns; i += 4 * kLanes)
    for (int chain = 0; chain < 4; ++chain) sums[chain] = add(sums[chain], of(load(x + i + chain * kLanes)));
  for (; i + kLanes <= columns; i += kLanes) sums[0] = add(sums[0], of(load(x + i)));
  float sum = across(sums);
  for (; i < columns; ++i) sum += of(x[i]);
  return sum;
}

void mean_rows(const MeanArgs& args) {
  const MeanArgs a = args;
  for (int64_t row = 0; row < a.rows; ++row)
    a.y[row] = sum_of(a.x + row * a.columns, a.columns, [](auto v) { return v; }) * a.scale;
}

// exp(−t) of what is not negative.
template <class V>
[[gnu::always_inline]] inline V exp_of_negated(V t) {
  return mul(exp_scaled(min(splat(110.0f), t)), splat(kUnscale));
}

// y = scale · x + mask, and the largest of it.
template <bool kMasked>
[[gnu::always_inline]] inline float scaled_and_masked(const SoftmaxArgs& a) {
  Vec most = splat(-__builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= a.columns; i += kLanes) {
    const Vec v = kMasked ? fma(load(a.x + i), splat(a.scale), load(a.mask + i)) : mul(load(a.x + i), splat(a.scale));
    store(a.y + i, v);
    most = max(most, v);
  }
  float lanes[kLanes], largest = -__builtin_inff();
  store(lanes, most);
  for (int lane = 0; lane < kLanes; ++lane) largest = lanes[lane] > largest ? lanes[lane] : largest;
  for (; i < a.columns; ++i) {
    const float v = kMasked ? fma(a.x[i], a.scale, a.mask[i]) : a.x[i] * a.scale;
    a.y[i] = v;
    largest = v > largest ? v : largest;
  }
  return largest;
}

void softmax_row(const SoftmaxArgs& args) {
  const SoftmaxArgs a = args;
  const float largest = a.mask ? scaled_and_masked<true>(a) : scaled_and_masked<false>(a);
  if (largest == -__builtin_inff() && a.zeros_where_all_masked) {
    bool nothing = true;  // but NaN, which is no maximum
    for (int64_t i = 0; i < a.columns; ++i) nothing &= a.y[i] == largest;
    for (int64_t i = 0; nothing && i < a.columns; ++i) a.y[i] = 0.0f;
    if (nothing) return;
  }
  Vec sums = splat(0.0f);
  int64_t i = 0;
  constexpr int64_t kAtOnce = int64_t{kPacked} * kLanes;
  for (; i + kAtOnce <= a.columns; i += kAtOnce) {
    const auto e = exp_of_negated(
        pack_of<kPacked>([&](int j) { return sub(splat(largest), load(a.y + i + static_cast<int64_t>(j) * kLanes)); }));
    for (int j = 0; j < kPacked; ++j) {
      store(a.y + i + static_cast<int64_t>(j) * kLanes, e.v[j]);
      sums = add(sums, e.v[j]);
    }
  }
  for (; i + kLanes <= a.columns; i += kLanes) {
    const Vec e = exp_of_negated(sub(splat(largest), load(a.y + i)));
    store(a.y + i, e);
    sums = add(sums, e);
  }
  float lanes[kLanes], sum = 0.0f;
  store(lanes, sums);
  for (int lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
  if (i < a.columns) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = i + lane < a.columns ? largest - a.y[i + lane] : 0.0f;
    store(lanes, exp_of_negated(load(lanes)));
    for (int64_t j = i; j < a.columns; ++j) sum += a.y[j] = lanes[j - i];
  }
  const float share = 1.0f / sum;
  for (i = 0; i + kLanes <= a.columns; i += kLanes) store(a.y + i, mul(load(a.y + i), splat(share)));
  for (; i < a.columns; ++i) a.y[i] *= share;
}

struct Square {
  Vec operator()(Vec v) const { return mul(v, v); }
  float operator()(float v) const { return v * v; }
};

void rms_norm_row(const RmsNormArgs& args) {
  const RmsNormArgs a = args;
  const float squares = sum_of(a.x, a.columns, Square{});
  float steepness[kLanes];
  store(steepness, div(splat(1.0f), sqrt(splat(squares * (1.0f / static_cast<float>(a.columns)) + a.epsilon))));
  int64_t i = 0;
  for (; i + kLanes <= a.columns; i += kLanes) {
    const Vec v = mul(load(a.x + i), splat(*steepness));
    store(a.y + i, a.weight ? mul(v, load(a.weight + i)) : v);
  }
  for (; i < a.columns; ++i) a.y[i] = a.x[i] * *steepness * (a.weight ? a.weight[i] : 1.0f);
}

void layer_norm_row(const LayerNormArgs& args) {
  const LayerNormArgs a = args;
  const float each = 1.0f / static_cast<float>(a.columns);
  const float mean = sum_of(a.x, a.columns, [](auto v) { return v; }) * each;
  struct SquareApart {
    float mean;
    Vec operator()(Vec v) const {
      const Vec apart = sub(v, splat(mean));
      return mul(apart, apart);
    }
    float operator()(float v) const { return (v - mean) * (v - mean); }
  };
  const float variance = sum_of(a.x, a.columns, SquareApart{mean}) * each;
  float steepness[kLanes];
  store(steepness, div(splat(1.0f), sqrt(splat(variance + a.epsilon))));
  int64_t i = 0;
  for (; i + kLanes <= a.columns; i += kLanes) {
    const Vec v = mul(sub(load(a.x + i), splat(mean)), splat(*steepness));
    store(a.y + i, a.weight ? fma(v, load(a.weight + i), load(a.bias + i)) : v);
  }
  for (; i < a.columns; ++i) {
    const float v = (a.x[i] - mean) * *steepness;
    a.y[i] = a.weight ? fma(v, a.weight[i], a.bias[i]) : v;
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
