// Eight lanes on every instruction set, for products with few columns: one vector of AVX2's, two quads elsewhere.
#pragma once

#include "simd.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// Four rows of four to four columns of four.
inline void transpose_four(const float* source, int64_t source_stride, float* target, int64_t target_stride) {
  Quad a = load_quad(source), b = load_quad(source + source_stride);
  Quad c = load_quad(source + 2 * source_stride), d = load_quad(source + 3 * source_stride);
  transpose(a, b, c, d);
  store_quad(target, a);
  store_quad(target + target_stride, b);
  store_quad(target + 2 * target_stride, c);
  store_quad(target + 3 * target_stride, d);
}

#if defined(__AVX2__)
using Oct = __m256;
inline Oct load_oct(const float* p) { return _mm256_loadu_ps(p); }
inline void store_oct(float* p, Oct v) { _mm256_storeu_ps(p, v); }
inline Oct splat_oct(float s) { return _mm256_set1_ps(s); }
// Eight rows of four to four columns of eight.
inline void transpose_eight(const float* source, int64_t source_stride, float* target, int64_t target_stride) {
  const auto pair = [&](int row) {  // and the one four below
    const float* p = source + row * source_stride;
    return _mm256_insertf128_ps(_mm256_castps128_ps256(load_quad(p)), load_quad(p + 4 * source_stride), 1);
  };
  const Oct a = pair(0), b = pair(1), c = pair(2), d = pair(3);
  const Oct low_ab = _mm256_unpacklo_ps(a, b), low_cd = _mm256_unpacklo_ps(c, d);
  const Oct high_ab = _mm256_unpackhi_ps(a, b), high_cd = _mm256_unpackhi_ps(c, d);
  store_oct(target, _mm256_shuffle_ps(low_ab, low_cd, 0x44));
  store_oct(target + target_stride, _mm256_shuffle_ps(low_ab, low_cd, 0xee));
  store_oct(target + 2 * target_stride, _mm256_shuffle_ps(high_ab, high_cd, 0x44));
  store_oct(target + 3 * target_stride, _mm256_shuffle_ps(high_ab, high_cd, 0xee));
}
// Loaded once, into a register: the compiler would rather load again for every use.
inline void hold(Oct& v) { __asm__("" : "+x"(v)); }
inline Oct fma_oct(Oct a, Oct b, Oct c) { return _mm256_fmadd_ps(a, b, c); }
inline Oct add_oct(Oct a, Oct b) { return _mm256_add_ps(a, b); }
inline float sum_oct(Oct v) { return sum_quad(add_quad(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1))); }
// Which of the four lanes of its own half each lane takes: the lowest two bits of eight words.
using Picks = __m256i;
inline Picks load_picks(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline Picks next_picks(Picks picks) { return _mm256_srli_epi32(picks, 2); }
inline Oct pick_in_halves(const float* p, Picks picks) { return _mm256_permutevar_ps(load_oct(p), picks); }
// Each lane one of eight floats: which, three bits a lane say, the first lane's lowest.
using EightPicks = __m256i;
inline EightPicks load_eight_picks(const uint32_t* picks) {
  const __m256i shifts = _mm256_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21);
  return _mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(*picks)), shifts);
}
inline Oct pick_of_eight(const float* p, EightPicks picks) { return _mm256_permutevar8x32_ps(load_oct(p), picks); }
inline Oct load_oct(const BFloat16* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
}
inline Oct load_oct(const Float16* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
// Whether all lanes are finite.
inline bool all_finite(Oct v) {
  const Oct nothing = _mm256_sub_ps(v, v);
  return _mm256_movemask_ps(_mm256_cmp_ps(nothing, nothing, _CMP_UNORD_Q)) == 0;
}
#else
struct Oct {
  Quad low, high;
};
inline Oct load_oct(const float* p) { return {load_quad(p), load_quad(p + 4)}; }
inline void store_oct(float* p, Oct v) {
  store_quad(p, v.low);
  store_quad(p + 4, v.high);
}
inline Oct splat_oct(float s) { return {splat_quad(s), splat_quad(s)}; }
inline void transpose_eight(const float* source, int64_t source_stride, float* target, int64_t target_stride) {
  transpose_four(source, source_stride, target, target_stride);
  transpose_four(source + 4 * source_stride, source_stride, target + 4, target_stride);
}
inline void hold(Oct&) {}
inline Oct fma_oct(Oct a, Oct b, Oct c) { return {fma_quad(a.low, b.low, c.low), fma_quad(a.high, b.high, c.high)}; }
inline Oct add_oct(Oct a, Oct b) { return {add_quad(a.low, b.low), add_quad(a.high, b.high)}; }
inline float sum_oct(Oct v) { return sum_quad(add_quad(v.low, v.high)); }
struct Picks {
  const uint32_t* words;
  int shift;
};
inline Picks load_picks(const uint32_t* p) { return {p, 0}; }
inline Picks next_picks(Picks picks) { return {picks.words, picks.shift + 2}; }
inline Oct pick_in_halves(const float* p, Picks picks) {
  const auto at = [&](int lane) { return picks.words[lane] >> picks.shift & 3; };
  return {gather_quad(p, at(0), at(1), at(2), at(3)), gather_quad(p + 4, at(4), at(5), at(6), at(7))};
}
using EightPicks = uint32_t;
inline EightPicks load_eight_picks(const uint32_t* picks) { return *picks; }
inline Oct pick_of_eight(const float* p, EightPicks picks) {
  const auto at = [&](int lane) { return picks >> 3 * lane & 7; };
  return {gather_quad(p, at(0), at(1), at(2), at(3)), gather_quad(p, at(4), at(5), at(6), at(7))};
}
inline Oct load_oct(const BFloat16* p) { return {load_quad(p), load_quad(p + 4)}; }
inline Oct load_oct(const Float16* p) { return {load_quad(p), load_quad(p + 4)}; }
inline bool all_finite(Oct v) {
  float lanes[8], sum = 0;
  store_oct(lanes, v);
  for (const float lane : lanes) sum += lane - lane;
  return sum == 0;
}
#endif

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
