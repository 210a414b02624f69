// Vectors of which some lanes are read or written only, for the edges of rows: memory of the others is not touched.
#pragma once

#include "kernels/simd/simd.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

#if defined(__AVX512F__)

using Lanes = __mmask16;
// The lanes from `begin` up to `end`.
inline Lanes lanes_in(int64_t begin, int64_t end) {
  const auto below = [](int64_t lane) { return lane <= 0 ? 0u : lane >= kLanes ? 0xffffu : (1u << lane) - 1; };
  return static_cast<Lanes>(below(end) & ~below(begin));
}
// Zeros in the other lanes.
inline Vec load_lanes(const float* p, Lanes lanes) { return _mm512_maskz_loadu_ps(lanes, p); }
inline void store_first(float* p, Vec v, int64_t count) { _mm512_mask_storeu_ps(p, lanes_in(0, count), v); }

#elif defined(__AVX2__) && !defined(SPARSE_ENGINE_SIMULATED_AVX512)

using Lanes = __m256i;
inline Lanes lanes_in(int64_t begin, int64_t end) {
  const auto clamped = [](int64_t lane) { return static_cast<int>(lane < -1 ? -1 : lane > kLanes ? kLanes : lane); };
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_and_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(clamped(end)), lane),
                          _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(clamped(begin - 1))));
}
inline Vec load_lanes(const float* p, Lanes lanes) { return _mm256_maskload_ps(p, lanes); }
// Masked stores are microcoded on many processors.
inline void store_first(float* p, Vec v, int64_t count) {
  if (count >= kLanes) return store(p, v);
  F32x4 rest = _mm256_castps256_ps128(v);
  if (count & 4) {
    store4(p, rest);
    rest = _mm256_extractf128_ps(v, 1);
    p += 4;
  }
  if (count & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
    rest = _mm_movehl_ps(rest, rest);
    p += 2;
  }
  if (count & 1) _mm_store_ss(p, rest);
}

#else

struct Lanes {
  int64_t begin, end;
};
inline Lanes lanes_in(int64_t begin, int64_t end) { return {begin < 0 ? 0 : begin, end < kLanes ? end : kLanes}; }
inline Vec load_lanes(const float* p, Lanes lanes) {
  float some[kLanes] = {};
  for (int64_t lane = lanes.begin; lane < lanes.end; ++lane) some[lane] = p[lane];
  return load(some);
}
inline void store_first(float* p, Vec v, int64_t count) {
  float all[kLanes];
  store(all, v);
  for (int64_t lane = 0; lane < count && lane < kLanes; ++lane) p[lane] = all[lane];
}

#endif

inline Vec load_first(const float* p, int64_t count) { return count >= kLanes ? load(p) : load_lanes(p, lanes_in(0, count)); }

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
