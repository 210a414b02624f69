// What is applied to every output last.
//
// Method   exp by reduction to |r| ≤ ln 2 / 2 and a polynomial, times a power of two so that neither large nor subnormal
//          results leave float's range before the last operation. sigmoid and silu follow from exp(−x), tanh from
//          exp(−2|x|); gelu from Φ(−t) = exp(−t² / 2)·g(t) / (t + 3.5), g a polynomial in (t − 3.5) / (t + 3.5), with t² kept
//          to twice the digits.
//          Coefficients: minimax fits of relative error, below 10⁻⁸ before they are rounded.
// Cost     per vector: 15 to 40 operations, one or two of them divisions; none, relu and relu6 are a comparison each.
// Error    against the exact function of the same float, in units of its last place (2⁻¹⁴⁹ among subnormals):
//          hardsigmoid 1, hardswish 2, tanh 2, sigmoid 3, elu 3, exp 3, softplus 3, silu 4 (below −87, where sigmoid is
//          subnormal, |x|·2⁻¹⁴⁹ besides), mish 4, erf 4, gelu_tanh 4, gelu 6 (one float in 97 of all there are was compared),
//          log 3, sin 3, cos 3; none, relu, relu6, leaky_relu and sqrt are exact but for their one rounding, floor is exact.
// A lane's result depends on that lane only, so a single float takes the same way.
#pragma once

#include "kernels/elementwise/trigonometric.hpp"
#include "kernels/simd/pack.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

inline Vec bits(uint32_t pattern) {
  float f;
  __builtin_memcpy(&f, &pattern, sizeof f);
  return splat(f);
}

// V: a vector or a pack of several.
template <class V>
[[gnu::always_inline]] inline V magnitude(V v) {
  return bits_of_both(v, bits(0x7fffffff));
}
template <class V>
[[gnu::always_inline]] inline V sign(V v) {
  return bits_of_both(v, bits(0x80000000));
}

constexpr float kScale = 0x1p64f, kUnscale = 0x1p-64f;

// n is −t / ln 2 rounded; the lowest bits of `rounded` are n + kExponent as a float's exponent.
template <class V>
struct Reduced {
  V rounded, n;
};
template <int kExponent, class V>
[[gnu::always_inline]] inline Reduced<V> reduced(V t) {
  const Vec rounder = splat(0x1.8p23f + 127 + kExponent);
  const V rounded = fma(t, splat(-1.442695041f), rounder);
  return {rounded, sub(rounded, rounder)};
}
// 2^(n + kExponent)·exp(−s).
template <class V>
[[gnu::always_inline]] inline V exp_of_rest(V s, V rounded) {
  V p = fma(s, splat(-1.381314243e-03f), splat(8.369418792e-03f));
  p = fma(p, s, splat(-4.166845605e-02f));
  p = fma(p, s, splat(1.666651517e-01f));
  p = fma(p, s, splat(-4.999999404e-01f));
  p = sub(splat(1.0f), fma(mul(s, s), p, s));
  return mul(p, low_bits_to_exponent(rounded));
}
// ln 2 in two pieces: n times the first one is exact, with or without fused operations.
constexpr float kLn2High = 0x1.63p-1f, kLn2Low = -2.121944400e-4f;

// 2^kExponent·exp(−t), where neither it nor exp(−t) by itself is above 2¹⁶⁰, or it below 2⁻¹²⁶.
template <int kExponent, class V>
[[gnu::always_inline]] inline V exp_of_minus(V t) {
  const auto [rounded, n] = reduced<kExponent>(t);
  return exp_of_rest(fma(n, splat(kLn2Low), fma(n, splat(kLn2High), t)), rounded);
}

// kScale·exp(−t).
template <class V>
[[gnu::always_inline]] inline V exp_scaled(V t) {
  return exp_of_minus<64>(t);
}

// kScale·exp(−high − low) for 0 ≤ high + low ≤ 110, low small.
template <class V>
[[gnu::always_inline]] inline V exp_scaled(V high, V low) {
  const auto [rounded, n] = reduced<64>(add(high, low));
  return exp_of_rest(add(fma(n, splat(kLn2High), high), fma(n, splat(kLn2Low), low)), rounded);
}

// 1 / (1 + exp(−v)) for −110 ≤ v; beyond 65 it is 1.
template <class V>
[[gnu::always_inline]] inline V sigmoid_from(V v) {
  constexpr float kOne = 0x1p-31f;  // so that exp(110) is a float
  return div(splat(kOne), add(exp_of_minus<-31>(min(splat(65.0f), v)), splat(kOne)));
}

template <class V>
[[gnu::always_inline]] inline V sigmoid(V v) {
  return sigmoid_from(max(splat(-110.0f), v));
}

template <class V>
[[gnu::always_inline]] inline V silu(V v) {
  const V from = max(splat(-110.0f), v);
  return mul(from, sigmoid_from(from));
}

// kScale·Φ(−t) for 0 ≤ t ≤ 14.5.
template <class V>
[[gnu::always_inline]] inline V normal_tail_scaled(V t) {
  const V short_t = bits_of_both(t, bits(0xfffff000));  // its square is exact
  const V e = exp_scaled(mul(mul(short_t, short_t), splat(0.5f)), mul(mul(sub(t, short_t), add(t, short_t)), splat(0.5f)));
  const V below = add(t, splat(3.5f)), u = div(sub(t, splat(3.5f)), below);
  V g = fma(u, splat(1.106893978e-04f), splat(4.218978574e-04f));
  g = fma(g, u, splat(-4.949436989e-04f));
  g = fma(g, u, splat(-3.175310791e-03f));
  g = fma(g, u, splat(6.493115798e-03f));
  g = fma(g, u, splat(1.740637794e-02f));
  g = fma(g, u, splat(-1.160530373e-01f));
  g = fma(g, u, splat(3.154250383e-01f));
  g = fma(g, u, splat(-5.655617714e-01f));
  g = fma(g, u, splat(7.444160581e-01f));
  return mul(div(g, below), e);
}

template <class V>
[[gnu::always_inline]] inline V gelu(V v) {
  const V t = min(splat(14.5f), magnitude(v));
  const V tail = mul(mul(t, normal_tail_scaled(t)), splat(kUnscale));  // t·Φ(−t)
  return by_sign(v, sub(splat(-0.0f), tail), sub(v, tail));
}

// v·sigmoid(u) with u = v·(k + c·v²), k = √(8 / π), c = 0.044715·k. |u| is kept to twice the digits, as exp carries its error
// on: factors whose last twelve bits are 0 have exact products.
template <class V>
[[gnu::always_inline]] inline V gelu_tanh(V v) {
  const Vec head = bits(0xfffff000);
  const V t = min(splat(10.9f), magnitude(v));
  const V a = bits_of_both(t, head), b = sub(t, a), square = mul(t, t);
  const V exact = mul(a, a), q = bits_of_both(exact, head), q_rest = fma(b, add(t, a), sub(exact, q));
  constexpr float kHigh = 0x1.988p0f, kLow = 6.599660573e-05f;   // k
  constexpr float cHigh = 0x1.244p-4f, cLow = 4.718616350e-06f;  // c
  const V steep = fma(square, splat(cHigh + cLow), splat(kHigh + kLow)), s = bits_of_both(steep, head);
  const V s_rest =
      add(fma(q, splat(cHigh), sub(splat(kHigh), s)), fma(q_rest, splat(cHigh + cLow), fma(q, splat(cLow), splat(kLow))));
  const V e = exp_scaled(mul(a, s), fma(b, s, mul(t, s_rest)));  // of −|u|
  const V y = div(by_sign(v, mul(t, e), v), fma(e, splat(kUnscale), splat(1.0f)));
  return by_sign(v, mul(y, splat(-kUnscale)), y);
}

// 1 − 2Φ(−√2·|v|), near 0 the Taylor series.
inline Vec erf(Vec v) {
  const Vec t = magnitude(v), square = mul(v, v);
  const Vec tail = mul(normal_tail_scaled(min(splat(14.5f), mul(t, splat(1.41421356f)))), splat(kUnscale));
  Vec p = fma(splat(1.0f / 9360), square, splat(-1.0f / 1320));
  p = fma(p, square, splat(1.0f / 216));
  p = fma(p, square, splat(-1.0f / 42));
  p = fma(p, square, splat(1.0f / 10));
  p = fma(p, square, splat(-1.0f / 3));
  const Vec small = mul(splat(1.12837917f), fma(mul(p, square), t, t));
  return bits_of_either(where(less(t, splat(0.5f)), small, fma(splat(-2.0f), tail, splat(1.0f))), sign(v));
}

inline Vec tanh(Vec v) {
  const Vec t = magnitude(v);
  const Vec e = mul(exp_scaled(mul(min(splat(20.0f), t), splat(2.0f))), splat(kUnscale));
  const Vec large = div(sub(splat(1.0f), e), add(splat(1.0f), e));
  const Vec square = mul(t, t);
  Vec p = fma(splat(-5.895149894e-03f), square, splat(2.079596370e-02f));
  p = fma(p, square, splat(-5.378382653e-02f));
  p = fma(p, square, splat(1.333192438e-01f));
  p = fma(p, square, splat(-3.333329856e-01f));
  const Vec small = fma(mul(p, square), t, t);
  return bits_of_either(by_sign(sub(t, splat(0.6f)), small, large), sign(v));
}

inline Vec exp(Vec v) {
  const Vec e = exp_scaled(min(splat(110.0f), magnitude(v)));
  return by_sign(v, mul(e, splat(kUnscale)), div(splat(kScale), e));
}

// exp(v) − 1 is 2t / (1 − t) with t = tanh(v / 2).
inline Vec elu(Vec v, float slope) {
  const Vec t = tanh(mul(v, splat(0.5f)));
  return by_sign(v, mul(splat(slope), div(add(t, t), sub(splat(1.0f), t))), v);
}

// tanh(log(1 + exp(v))) is n / (n + 2) with n = exp(v)·(exp(v) + 2), and what follows from it for exp(−v).
inline Vec mish(Vec v) {
  const Vec t = min(splat(110.0f), magnitude(v));
  const Vec scaled = exp_scaled(t), e = mul(scaled, splat(kUnscale));
  const Vec twice = add(e, splat(2.0f)), over = add(add(e, e), splat(1.0f));
  const Vec y =
      div(by_sign(v, mul(t, mul(scaled, twice)), over), by_sign(v, fma(e, twice, splat(2.0f)), fma(add(e, e), e, over)));
  return by_sign(v, mul(y, splat(-kUnscale)), mul(v, y));
}

// log(1 + e) is 2·artanh(e / (2 + e)), e = exp(−|v|).
inline Vec softplus(Vec v) {
  const Vec t = min(splat(110.0f), magnitude(v));
  const Vec scaled = exp_scaled(t);
  const Vec z = div(scaled, fma(scaled, splat(kUnscale), splat(2.0f)));
  const Vec square = mul(mul(z, splat(kUnscale)), mul(z, splat(kUnscale)));
  Vec p = fma(splat(1.0f / 15), square, splat(1.0f / 13));
  p = fma(p, square, splat(1.0f / 11));
  p = fma(p, square, splat(1.0f / 9));
  p = fma(p, square, splat(1.0f / 7));
  p = fma(p, square, splat(1.0f / 5));
  p = fma(p, square, splat(1.0f / 3));
  return fma(fma(mul(z, square), p, z), splat(2 * kUnscale), max(splat(0.0f), v));
}

// v = 2ⁿ·m with m in [√½, √2): n·ln 2 + 2·artanh((m − 1) / (m + 1)).
inline Vec log(Vec v) {
  const Vec subnormal = less(v, splat(0x1p-126f)), x = where(subnormal, mul(v, splat(0x1p23f)), v);
  const Vec ones = bits_of_either(bits_of_both(x, bits(0x007fffff)), splat(1.0f));  // in [1, 2)
  const Vec large = less(splat(1.41421356f), ones), m = where(large, mul(ones, splat(0.5f)), ones);
  const Vec n = add(sub(biased_exponent(magnitude(x)), where(subnormal, splat(127.0f + 23.0f), splat(127.0f))), large);
  const Vec z = div(sub(m, splat(1.0f)), add(m, splat(1.0f))), square = mul(z, z);
  Vec p = fma(splat(1.0f / 9), square, splat(1.0f / 7));
  p = fma(p, square, splat(1.0f / 5));
  p = fma(p, square, splat(1.0f / 3));
  const Vec twice = add(z, z);
  // ln 2 in two pieces: n times the first one is exact.
  const Vec low = fma(mul(twice, square), p, mul(n, splat(-2.121944400e-4f)));
  const Vec y = add(mul(n, splat(0x1.63p-1f)), add(twice, low));
  const Vec finite = where(less(v, bits(0x7f800000)), y, v);  // infinity and NaN are their own
  return where(less(splat(0.0f), v), finite,
               where(equal(v, splat(0.0f)), bits(0xff800000), where(less(v, splat(0.0f)), bits(0x7fc00000), v)));
}

// Adding 2²³ rounds to an integer, which may be the next one.
inline Vec floor(Vec v) {
  const Vec t = magnitude(v), rounded = bits_of_either(sub(add(t, splat(0x1p23f)), splat(0x1p23f)), sign(v));
  return where(less(t, splat(0x1p23f)), bits_of_either(sub(rounded, less(v, rounded)), sign(v)), v);
}

inline Vec hardsigmoid(Vec v) { return div(min(splat(6.0f), max(splat(0.0f), add(v, splat(3.0f)))), splat(6.0f)); }

template <class V>
[[gnu::always_inline]] inline V hardswish(V v) {
  const V from = max(splat(-3.0f), v);
  const V gate = min(splat(6.0f), add(from, splat(3.0f)));
  return mul(from, div(gate, splat(6.0f)));
}

// Out of line: inside a kernel's loop it would cost the common activations registers.
[[gnu::noinline]] Vec activate_smoothly(Vec v, Activation activation) {
  switch (activation) {
    case Activation::gelu: return gelu(v);
    case Activation::gelu_tanh: return gelu_tanh(v);
    case Activation::silu: return silu(v);
    case Activation::sigmoid: return sigmoid(v);
    case Activation::tanh: return tanh(v);
    case Activation::hardswish: return hardswish(v);
    case Activation::hardsigmoid: return hardsigmoid(v);
    case Activation::leaky_relu: return by_sign(v, mul(v, splat(activation.slope)), v);
    case Activation::elu: return elu(v, activation.slope);
    case Activation::mish: return mish(v);
    case Activation::softplus: return softplus(v);
    case Activation::exp: return exp(v);
    case Activation::sqrt: return sqrt(v);
    case Activation::log: return log(v);
    case Activation::floor: return floor(v);
    case Activation::erf: return erf(v);
    case Activation::sin: return sin(v);
    case Activation::cos: return cos(v);
    default: return v;
  }
}

// The same of several vectors: one look for which, and the commonest by packs.
[[gnu::noinline]] void activate_smoothly(Vec* v, int count, Activation activation) {
  switch (activation) {
    case Activation::gelu: return by_packs(v, count, [](auto some) __attribute__((always_inline)) { return gelu(some); });
    case Activation::gelu_tanh:
      return by_packs(v, count, [](auto some) __attribute__((always_inline)) { return gelu_tanh(some); });
    case Activation::silu: return by_packs(v, count, [](auto some) __attribute__((always_inline)) { return silu(some); });
    case Activation::sigmoid: return by_packs(v, count, [](auto some) __attribute__((always_inline)) { return sigmoid(some); });
    case Activation::hardswish:
      return by_packs(v, count, [](auto some) __attribute__((always_inline)) { return hardswish(some); });
    default:
      for (int i = 0; i < count; ++i) v[i] = activate_smoothly(v[i], activation);
  }
}

inline Vec activate(Vec v, Activation activation) {
  if (activation == Activation::none) return v;
  if (activation > Activation::relu6) return activate_smoothly(v, activation);
  v = max(splat(0.0f), v);
  return activation == Activation::relu6 ? min(splat(6.0f), v) : v;
}

template <int kVectors>
[[gnu::always_inline]] inline void activate(Vec (&v)[kVectors], Activation activation) {
  if (activation == Activation::none) return;
  if (activation > Activation::relu6) {
    Vec in_memory[kVectors];  // not v itself, whose place are registers
    for (int i = 0; i < kVectors; ++i) in_memory[i] = v[i];
    activate_smoothly(in_memory, kVectors, activation);
    for (int i = 0; i < kVectors; ++i) v[i] = in_memory[i];
    return;
  }
  for (int i = 0; i < kVectors; ++i) v[i] = max(splat(0.0f), v[i]);
  if (activation == Activation::relu6)
    for (int i = 0; i < kVectors; ++i) v[i] = min(splat(6.0f), v[i]);
}

inline float activate(float v, Activation activation) {
  if (activation == Activation::none) return v;
  if (activation > Activation::relu6) {
    float lanes[kLanes];
    store(lanes, activate_smoothly(splat(v), activation));
    return lanes[0];
  }
  if (v < 0.0f) v = 0.0f;
  return activation == Activation::relu6 && v > 6.0f ? 6.0f : v;
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
