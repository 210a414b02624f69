// Eight lanes on every instruction set, for products with few columns: one vector of AVX2's, two quads elsewhere.
#pragma once

#include "kernels/simd/simd.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// Four rows of four to four columns of four.
inline void transpose4(const float* source, int64_t source_stride, float* target, int64_t target_stride) {
  F32x4 a = load4(source), b = load4(source + source_stride);
  F32x4 c = load4(source + 2 * source_stride), d = load4(source + 3 * source_stride);
  transpose(a, b, c, d);
  store4(target, a);
  store4(target + target_stride, b);
  store4(target + 2 * target_stride, c);
  store4(target + 3 * target_stride, d);
}

#if defined(__AVX2__)
using F32x8 = __m256;
inline F32x8 load8(const float* p) { return _mm256_loadu_ps(p); }
inline void store8(float* p, F32x8 v) { _mm256_storeu_ps(p, v); }
inline F32x8 splat8(float s) { return _mm256_set1_ps(s); }
// Eight rows of four to four columns of eight.
inline void transpose8(const float* source, int64_t source_stride, float* target, int64_t target_stride) {
  const auto pair = [&](int row) {  // and the one four below
    const float* p = source + row * source_stride;
    return _mm256_insertf128_ps(_mm256_castps128_ps256(load4(p)), load4(p + 4 * source_stride), 1);
  };
  const F32x8 a = pair(0), b = pair(1), c = pair(2), d = pair(3);
  const F32x8 low_ab = _mm256_unpacklo_ps(a, b), low_cd = _mm256_unpacklo_ps(c, d);
  const F32x8 high_ab = _mm256_unpackhi_ps(a, b), high_cd = _mm256_unpackhi_ps(c, d);
  store8(target, _mm256_shuffle_ps(low_ab, low_cd, 0x44));
  store8(target + target_stride, _mm256_shuffle_ps(low_ab, low_cd, 0xee));
  store8(target + 2 * target_stride, _mm256_shuffle_ps(high_ab, high_cd, 0x44));
  store8(target + 3 * target_stride, _mm256_shuffle_ps(high_ab, high_cd, 0xee));
}
// Loaded once, into a register: the compiler would rather load again for every use.
inline void hold(F32x8& v) { __asm__("" : "+x"(v)); }
inline F32x8 fma8(F32x8 a, F32x8 b, F32x8 c) { return _mm256_fmadd_ps(a, b, c); }
inline F32x8 add8(F32x8 a, F32x8 b) { return _mm256_add_ps(a, b); }
inline float sum8(F32x8 v) { return sum4(add4(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1))); }
// Which of the four lanes of its own half each lane takes: the lowest two bits of eight words.
using Picks = __m256i;
inline Picks load_picks(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline Picks next_picks(Picks picks) { return _mm256_srli_epi32(picks, 2); }
inline F32x8 pick_in_halves(const float* p, Picks picks) { return _mm256_permutevar_ps(load8(p), picks); }
// Each lane one of eight floats: which, three bits a lane say, the first lane's lowest.
using EightPicks = __m256i;
inline EightPicks load_eight_picks(const uint32_t* picks) {
  const __m256i shifts = _mm256_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21);
  return _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(*picks)), shifts);
}
inline F32x8 pick_of_eight(const float* p, EightPicks picks) { return _mm256_permutevar8x32_ps(load8(p), picks); }
inline F32x8 load8(const BFloat16* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
}
inline F32x8 load8(const Float16* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
// Whether all lanes are finite.
inline bool all_finite(F32x8 v) {
  const F32x8 nothing = _mm256_sub_ps(v, v);
  return _mm256_movemask_ps(_mm256_cmp_ps(nothing, nothing, _CMP_UNORD_Q)) == 0;
}
#else
struct F32x8 {
  F32x4 low, high;
};
inline F32x8 load8(const float* p) { return {load4(p), load4(p + 4)}; }
inline void store8(float* p, F32x8 v) {
  store4(p, v.low);
  store4(p + 4, v.high);
}
inline F32x8 splat8(float s) { return {splat4(s), splat4(s)}; }
inline void transpose8(const float* source, int64_t source_stride, float* target, int64_t target_stride) {
  transpose4(source, source_stride, target, target_stride);
  transpose4(source + 4 * source_stride, source_stride, target + 4, target_stride);
}
inline void hold(F32x8&) {}
inline F32x8 fma8(F32x8 a, F32x8 b, F32x8 c) { return {fma4(a.low, b.low, c.low), fma4(a.high, b.high, c.high)}; }
inline F32x8 add8(F32x8 a, F32x8 b) { return {add4(a.low, b.low), add4(a.high, b.high)}; }
inline float sum8(F32x8 v) { return sum4(add4(v.low, v.high)); }
struct Picks {
  const uint32_t* words;
  int shift;
};
inline Picks load_picks(const uint32_t* p) { return {p, 0}; }
inline Picks next_picks(Picks picks) { return {picks.words, picks.shift + 2}; }
inline F32x8 pick_in_halves(const float* p, Picks picks) {
  const auto at = [&](int lane) { return picks.words[lane] >> picks.shift & 3; };
  return {gather4(p, at(0), at(1), at(2), at(3)), gather4(p + 4, at(4), at(5), at(6), at(7))};
}
using EightPicks = uint32_t;
inline EightPicks load_eight_picks(const uint32_t* picks) { return *picks; }
inline F32x8 pick_of_eight(const float* p, EightPicks picks) {
  const auto at = [&](int lane) { return picks >> 3 * lane & 7; };
  return {gather4(p, at(0), at(1), at(2), at(3)), gather4(p, at(4), at(5), at(6), at(7))};
}
inline F32x8 load8(const BFloat16* p) { return {load4(p), load4(p + 4)}; }
inline F32x8 load8(const Float16* p) { return {load4(p), load4(p + 4)}; }
inline bool all_finite(F32x8 v) {
  float lanes[8], sum = 0;
  store8(lanes, v);
  for (const float lane : lanes) sum += lane - lane;
  return sum == 0;
}
#endif

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
