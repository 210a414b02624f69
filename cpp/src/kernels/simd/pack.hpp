// Several vectors side by side. A long chain of operations on one vector waits for its own results; on a pack each step is as
// many independent operations, which the processor need not look ahead for.
#pragma once

#include "kernels/simd/simd.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

template <int kVectors>
struct Pack;

// make(i) of each.
template <int kVectors, class Function>
[[gnu::always_inline]] inline Pack<kVectors> pack_of(Function make) {
  Pack<kVectors> made;
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) made.v[i] = make(i);
  return made;
}

template <int kVectors>
struct Pack {
  Vec v[kVectors];

  Pack() = default;
  [[gnu::always_inline]] Pack(Vec same) : Pack(pack_of<kVectors>([same](int) { return same; })) {}

  // Those of simd.hpp, vector by vector; an operand may be one vector for all.
  [[gnu::always_inline]] friend Pack add(const Pack& a, const Pack& b) {
    return pack_of<kVectors>([&](int i) { return add(a.v[i], b.v[i]); });
  }
  [[gnu::always_inline]] friend Pack sub(const Pack& a, const Pack& b) {
    return pack_of<kVectors>([&](int i) { return sub(a.v[i], b.v[i]); });
  }
  [[gnu::always_inline]] friend Pack mul(const Pack& a, const Pack& b) {
    return pack_of<kVectors>([&](int i) { return mul(a.v[i], b.v[i]); });
  }
  [[gnu::always_inline]] friend Pack div(const Pack& a, const Pack& b) {
    return pack_of<kVectors>([&](int i) { return div(a.v[i], b.v[i]); });
  }
  [[gnu::always_inline]] friend Pack max(const Pack& a, const Pack& b) {
    return pack_of<kVectors>([&](int i) { return max(a.v[i], b.v[i]); });
  }
  [[gnu::always_inline]] friend Pack min(const Pack& a, const Pack& b) {
    return pack_of<kVectors>([&](int i) { return min(a.v[i], b.v[i]); });
  }
  [[gnu::always_inline]] friend Pack fma(const Pack& a, const Pack& b, const Pack& c) {
    return pack_of<kVectors>([&](int i) { return fma(a.v[i], b.v[i], c.v[i]); });
  }
  [[gnu::always_inline]] friend Pack bits_of_both(const Pack& a, const Pack& b) {
    return pack_of<kVectors>([&](int i) { return bits_of_both(a.v[i], b.v[i]); });
  }
  [[gnu::always_inline]] friend Pack bits_of_either(const Pack& a, const Pack& b) {
    return pack_of<kVectors>([&](int i) { return bits_of_either(a.v[i], b.v[i]); });
  }
  [[gnu::always_inline]] friend Pack low_bits_to_exponent(const Pack& a) {
    return pack_of<kVectors>([&](int i) { return low_bits_to_exponent(a.v[i]); });
  }
  [[gnu::always_inline]] friend Pack by_sign(const Pack& v, const Pack& negative, const Pack& positive) {
    return pack_of<kVectors>([&](int i) { return by_sign(v.v[i], negative.v[i], positive.v[i]); });
  }
};

constexpr int kPacked = 4;

// f of kVectors vectors, as one pack.
template <int kVectors, class Function>
[[gnu::always_inline]] inline void as_pack(Vec* v, Function f) {
  const Pack<kVectors> made = f(pack_of<kVectors>([&](int i) { return v[i]; }));
#pragma GCC unroll 8
  for (int i = 0; i < kVectors; ++i) v[i] = made.v[i];
}

// f of each vector, in packs as large as there are.
template <class Function>
[[gnu::always_inline]] inline void by_packs(Vec* v, int count, Function f) {
  for (; count >= kPacked; count -= kPacked, v += kPacked) as_pack<kPacked>(v, f);
  switch (count) {
    case 3: return as_pack<3>(v, f);
    case 2: return as_pack<2>(v, f);
    case 1: *v = f(*v); return;
    default: return;
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
