// Sine and cosine.
//
// Method   x = n·π/2 + r with |r| ≤ π/4, then the Taylor series of sin r or cos r, by n mod 4. Up to 1600, π/2 is taken off in
//          four pieces, of which n times each of the first three is exact and whose errors do not matter where most of x
//          cancels (Cody, Waite, "Software Manual for the Elementary Functions", 1980). Beyond, lane by lane, x is multiplied
//          by those bits of 2/π that do not make whole turns (Payne, Hanek, "Radian Reduction for Trigonometric Functions",
//          1983).
// Cost     per vector: 40 operations, no division; lanes beyond 1600 one by one.
// Error    3 units in the last place of the exact function of the same float.
#pragma once

#include "kernels/simd/simd.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

constexpr float kMostReduced = 1600.0f;

// 2/π, the words behind the point, and a zero before them.
constexpr uint32_t kTwoOverPi[] = {0, 0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab};

inline Vec nearest_whole(Vec v) { return sub(add(v, splat(0x1.8p23f)), splat(0x1.8p23f)); }

// ⌊v / 2⌋ of a whole number.
inline Vec half_of(Vec v) { return nearest_whole(fma(v, splat(0.5f), splat(-0.25f))); }

// sin(x + quarters·π/2) for x > 1600; NaN for infinity and NaN.
[[gnu::noinline]] float sine_of_large(float x, uint32_t quarters) {
  uint32_t pattern;
  __builtin_memcpy(&pattern, &x, sizeof x);
  const uint32_t exponent = pattern >> 23;
  if (exponent > 254) return x - x;
  const uint64_t mantissa = (pattern & 0x007fffffu) | 0x00800000u;  // x = mantissa · 2^(exponent − 150)
  // From the bit on whose product with x's last bit counts 2, the others before it make whole turns: bit 31 is the first.
  const uint32_t first = exponent - 150 - 2 + 32, word = first / 32, skipped = first % 32;
  uint64_t window[3];
  for (uint32_t i = 0; i < 3; ++i) {
    const uint64_t both = static_cast<uint64_t>(kTwoOverPi[word + i]) << 32 | kTwoOverPi[word + i + 1];
    window[i] = both << skipped >> 32;
  }
  // x · 2/π in units of 2⁻⁶² quarter turns, modulo a whole turn.
  const uint64_t turned = (mantissa * window[0] << 32) + mantissa * window[1] + (mantissa * window[2] >> 32);
  const uint64_t whole = (turned + (uint64_t{1} << 61)) >> 62;
  const double r = static_cast<double>(static_cast<int64_t>(turned - (whole << 62))) * 0x1.921fb54442d18p-62;
  const double square = r * r;
  const uint64_t quarter = whole + quarters;
  double y;
  if (quarter & 1) {
    y = 1 + square * (-1.0 / 2 + square * (1.0 / 24 + square * (-1.0 / 720 + square * (1.0 / 40320 - square / 3628800))));
  } else {
    y = r +
        r * square * (-1.0 / 6 + square * (1.0 / 120 + square * (-1.0 / 5040 + square * (1.0 / 362880 - square / 39916800))));
  }
  return static_cast<float>(quarter & 2 ? -y : y);
}

// sin(v + quarters·π/2) for v ≥ 0. A call: what it may call in turn would cost all other activations a stack frame.
[[gnu::noinline]] Vec sine_from(Vec v, uint32_t quarters) {
  const Vec n = nearest_whole(mul(v, splat(0.636619772f)));
  Vec r = fma(n, splat(-0x1.9218p+0f), v);
  r = fma(n, splat(-0x1.ed5p-14f), r);
  r = fma(n, splat(-0x1.10ap-30f), r);
  r = fma(n, splat(-0x1.4611a6p-42f), r);
  const Vec square = mul(r, r);
  Vec s = fma(splat(1.0f / 362880), square, splat(-1.0f / 5040));
  s = fma(s, square, splat(1.0f / 120));
  s = fma(s, square, splat(-1.0f / 6));
  s = fma(mul(r, square), s, r);
  Vec c = fma(splat(-1.0f / 3628800), square, splat(1.0f / 40320));
  c = fma(c, square, splat(-1.0f / 720));
  c = fma(c, square, splat(1.0f / 24));
  c = fma(mul(square, square), c, fma(square, splat(-0.5f), splat(1.0f)));
  const Vec quarter = add(n, splat(static_cast<float>(quarters))), half = half_of(quarter);
  const Vec odd = fma(half, splat(-2.0f), quarter), backwards = fma(half_of(half), splat(-2.0f), half);
  const Vec y = mul(where(odd, c, s), fma(backwards, splat(-2.0f), splat(1.0f)));

  float given[kLanes], made[kLanes];
  store(given, v);
  bool all_reduced = true;
  for (const float x : given) all_reduced = all_reduced && x <= kMostReduced;
  if (all_reduced) return y;
  store(made, y);
  for (int i = 0; i < static_cast<int>(kLanes); ++i)
    if (!(given[i] <= kMostReduced)) made[i] = sine_of_large(given[i], quarters);
  return load(made);
}

inline Vec sin(Vec v) {
  const Vec sign = by_sign(v, splat(-1.0f), splat(1.0f));
  return mul(sine_from(mul(v, sign), 0), sign);
}

inline Vec cos(Vec v) { return sine_from(mul(v, by_sign(v, splat(-1.0f), splat(1.0f))), 1); }

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
