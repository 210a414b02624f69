// The vector type of the instruction set this object is compiled for, and the operations kernels are written in.
// To add an instruction set: one section here, one add_isa() line in cpp/CMakeLists.txt.
#pragma once

#include <stdint.h>

#include "sparse_engine/types.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// SIMULATED: the section that follows on a processor without such instructions, for its tests (cpp/CMakeLists.txt).
#if defined(__AVX512F__) || defined(SPARSE_ENGINE_SIMULATED_AVX512)

using Vec = __m512;
constexpr int kLanes = 16;
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
#if defined(SPARSE_ENGINE_SIMULATED_AVX512)
inline void stream(float* p, Vec v) { store(p, v); }  // not among what is simulated
#else
inline void stream(float* p, Vec v) { _mm512_stream_ps(p, v); }
#endif
constexpr bool kPicks = true;  // lanes by number, where vectors have kLeastPicked or more
inline Vec pick(Vec v, const uint32_t* lanes) { return _mm512_permutexvar_ps(_mm512_loadu_si512(lanes), v); }
inline Vec splat(float s) { return _mm512_set1_ps(s); }
// Four floats from which single ones are splat: from memory here, because permutations share a port with the fma.
using Broadcast4 = const float*;
inline Broadcast4 load_broadcast4(const float* p) { return p; }
template <int i>
inline Vec splat_of(Broadcast4 p) {
  return splat(p[i]);
}
inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
// The second operand is returned when either is NaN.
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
inline Vec sqrt(Vec v) { return _mm512_sqrt_ps(v); }
inline Vec bits_of_both(Vec a, Vec b) { return _mm512_and_ps(a, b); }
inline Vec bits_of_either(Vec a, Vec b) { return _mm512_or_ps(a, b); }
inline Vec low_bits_to_exponent(Vec v) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 23)); }
// Lane by lane `negative` where v's sign bit is set, else `positive`.
inline Vec by_sign(Vec v, Vec negative, Vec positive) {
  return _mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(v)), positive, negative);
}
// Lane by lane 1 where the comparison holds, else 0; with NaN none holds.
inline Vec less(Vec a, Vec b) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), splat(1.0f)); }
inline Vec less_equal(Vec a, Vec b) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_LE_OQ), splat(1.0f)); }
inline Vec equal(Vec a, Vec b) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ), splat(1.0f)); }
inline Vec exponent_to_low_bits(Vec v) { return _mm512_castsi512_ps(_mm512_srli_epi32(_mm512_castps_si512(v), 23)); }

#elif defined(__AVX2__)

using Vec = __m256;
constexpr int kLanes = 8;
inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
inline void stream(float* p, Vec v) { _mm256_stream_ps(p, v); }
constexpr bool kPicks = true;
inline Vec pick(Vec v, const uint32_t* lanes) { return _mm256_permutevar8x32_ps(v, _mm256_loadu_si256((const __m256i*)lanes)); }
inline Vec splat(float s) { return _mm256_set1_ps(s); }
using Broadcast4 = __m256;
inline Broadcast4 load_broadcast4(const float* p) { return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p)); }
template <int i>
inline Vec splat_of(Broadcast4 v) {
  return _mm256_permute_ps(v, 0x55 * i);
}
inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
inline Vec sqrt(Vec v) { return _mm256_sqrt_ps(v); }
inline Vec bits_of_both(Vec a, Vec b) { return _mm256_and_ps(a, b); }
inline Vec bits_of_either(Vec a, Vec b) { return _mm256_or_ps(a, b); }
inline Vec low_bits_to_exponent(Vec v) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 23)); }
inline Vec by_sign(Vec v, Vec negative, Vec positive) { return _mm256_blendv_ps(positive, negative, v); }
inline Vec less(Vec a, Vec b) { return bits_of_both(_mm256_cmp_ps(a, b, _CMP_LT_OQ), splat(1.0f)); }
inline Vec less_equal(Vec a, Vec b) { return bits_of_both(_mm256_cmp_ps(a, b, _CMP_LE_OQ), splat(1.0f)); }
inline Vec equal(Vec a, Vec b) { return bits_of_both(_mm256_cmp_ps(a, b, _CMP_EQ_OQ), splat(1.0f)); }
inline Vec exponent_to_low_bits(Vec v) { return _mm256_castsi256_ps(_mm256_srli_epi32(_mm256_castps_si256(v), 23)); }

#elif defined(__SSE4_2__)

using Vec = __m128;
constexpr int kLanes = 4;
inline Vec load(const float* p) { return _mm_loadu_ps(p); }
inline void store(float* p, Vec v) { _mm_storeu_ps(p, v); }
inline void stream(float* p, Vec v) { _mm_stream_ps(p, v); }
constexpr bool kPicks = false;
inline Vec pick(Vec v, const uint32_t*) { return v; }
inline Vec splat(float s) { return _mm_set1_ps(s); }
using Broadcast4 = __m128;
inline Broadcast4 load_broadcast4(const float* p) { return _mm_loadu_ps(p); }
template <int i>
inline Vec splat_of(Broadcast4 v) {
  return _mm_shuffle_ps(v, v, 0x55 * i);
}
inline Vec fma(Vec a, Vec b, Vec c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }  // no FMA on this set: two roundings
inline Vec add(Vec a, Vec b) { return _mm_add_ps(a, b); }
inline Vec max(Vec a, Vec b) { return _mm_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm_min_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm_sub_ps(a, b); }
inline Vec mul(Vec a, Vec b) { return _mm_mul_ps(a, b); }
inline Vec div(Vec a, Vec b) { return _mm_div_ps(a, b); }
inline Vec sqrt(Vec v) { return _mm_sqrt_ps(v); }
inline Vec bits_of_both(Vec a, Vec b) { return _mm_and_ps(a, b); }
inline Vec bits_of_either(Vec a, Vec b) { return _mm_or_ps(a, b); }
inline Vec low_bits_to_exponent(Vec v) { return _mm_castsi128_ps(_mm_slli_epi32(_mm_castps_si128(v), 23)); }
inline Vec by_sign(Vec v, Vec negative, Vec positive) { return _mm_blendv_ps(positive, negative, v); }
inline Vec less(Vec a, Vec b) { return bits_of_both(_mm_cmplt_ps(a, b), splat(1.0f)); }
inline Vec less_equal(Vec a, Vec b) { return bits_of_both(_mm_cmple_ps(a, b), splat(1.0f)); }
inline Vec equal(Vec a, Vec b) { return bits_of_both(_mm_cmpeq_ps(a, b), splat(1.0f)); }
inline Vec exponent_to_low_bits(Vec v) { return _mm_castsi128_ps(_mm_srli_epi32(_mm_castps_si128(v), 23)); }

#elif defined(__aarch64__)

using Vec = float32x4_t;
constexpr int kLanes = 4;
inline Vec load(const float* p) { return vld1q_f32(p); }
inline void store(float* p, Vec v) { vst1q_f32(p, v); }
inline void stream(float* p, Vec v) { vst1q_f32(p, v); }
constexpr bool kPicks = false;
inline Vec pick(Vec v, const uint32_t*) { return v; }
inline Vec splat(float s) { return vdupq_n_f32(s); }
using Broadcast4 = float32x4_t;
inline Broadcast4 load_broadcast4(const float* p) { return vld1q_f32(p); }
template <int i>
inline Vec splat_of(Broadcast4 v) {
  return vdupq_laneq_f32(v, i);
}
inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
inline Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
inline Vec max(Vec a, Vec b) { return vmaxq_f32(a, b); }  // NaN if either is NaN
inline Vec min(Vec a, Vec b) { return vminq_f32(a, b); }
inline Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
inline Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
inline Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
inline Vec sqrt(Vec v) { return vsqrtq_f32(v); }
inline Vec bits_of_both(Vec a, Vec b) {
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b)));
}
inline Vec bits_of_either(Vec a, Vec b) {
  return vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b)));
}
inline Vec low_bits_to_exponent(Vec v) { return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(v), 23)); }
inline Vec by_sign(Vec v, Vec negative, Vec positive) {
  return vbslq_f32(vcltzq_s32(vreinterpretq_s32_f32(v)), negative, positive);
}
inline Vec less(Vec a, Vec b) { return bits_of_both(vreinterpretq_f32_u32(vcltq_f32(a, b)), splat(1.0f)); }
inline Vec less_equal(Vec a, Vec b) { return bits_of_both(vreinterpretq_f32_u32(vcleq_f32(a, b)), splat(1.0f)); }
inline Vec equal(Vec a, Vec b) { return bits_of_both(vreinterpretq_f32_u32(vceqq_f32(a, b)), splat(1.0f)); }
inline Vec exponent_to_low_bits(Vec v) { return vreinterpretq_f32_u32(vshrq_n_u32(vreinterpretq_u32_f32(v), 23)); }

#else
#error "no vector section for this instruction set: add one here"
#endif

// max() and min() return their second operand when either is NaN: taken both ways round, one of them is NaN if an operand is.
inline Vec max_or_nan(Vec a, Vec b) { return bits_of_either(max(a, b), max(b, a)); }
inline Vec min_or_nan(Vec a, Vec b) { return bits_of_either(min(a, b), min(b, a)); }

// After vectors were streamed, which need an aligned place: another thread sees them as if they had been stored.
inline void end_streams() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// Lane by lane `a` where `one` is 1, else (0) `b`: whatever the other is.
inline Vec where(Vec one, Vec a, Vec b) { return by_sign(sub(splat(0.5f), one), a, b); }

// The eight bits of the exponent as a number, v not being negative: as the low bits of a float from 2²³ on.
inline Vec biased_exponent(Vec v) { return sub(bits_of_either(exponent_to_low_bits(v), splat(0x1p23f)), splat(0x1p23f)); }

// What is written before is done before: the compiler would mix the loads of two rows, which then meet in the same cache banks.
inline void keep_order() { __asm__ volatile("" ::: "memory"); }

// An address in a register of its own, which the compiler would rather put together anew for every load from it.
inline const float* pinned(const float* p) {
  __asm__("" : "+r"(p));
  return p;
}

// Four-lane vectors, for transposing and for gathering: every set above has them.
#if defined(__x86_64__)
using F32x4 = __m128;
inline F32x4 load4(const float* p) { return _mm_loadu_ps(p); }
inline void store4(float* p, F32x4 v) { _mm_storeu_ps(p, v); }
inline void transpose(F32x4& a, F32x4& b, F32x4& c, F32x4& d) { _MM_TRANSPOSE4_PS(a, b, c, d); }
// p[0], p[2], p[4], p[6], and nothing past them is read: the second load begins one before its first float.
inline F32x4 evens4_of(F32x4 low, F32x4 high) { return _mm_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 2, 0)); }
inline F32x4 evens4(const float* p) { return evens4_of(load4(p), load4(p + 3)); }
inline F32x4 zero4() { return _mm_setzero_ps(); }
inline F32x4 splat4(float s) { return _mm_set1_ps(s); }
inline F32x4 add4(F32x4 a, F32x4 b) { return _mm_add_ps(a, b); }
#if defined(__FMA__)
inline F32x4 fma4(F32x4 a, F32x4 b, F32x4 c) { return _mm_fmadd_ps(a, b, c); }
#else
inline F32x4 fma4(F32x4 a, F32x4 b, F32x4 c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
#endif
// Four inserts: cheaper than the gather instruction wherever that one is microcoded, and never much worse.
inline F32x4 gather4(const float* p, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  F32x4 v = _mm_load_ss(p + a);
  v = _mm_insert_ps(v, _mm_load_ss(p + b), 0x10);
  v = _mm_insert_ps(v, _mm_load_ss(p + c), 0x20);
  return _mm_insert_ps(v, _mm_load_ss(p + d), 0x30);
}
inline float sum4(F32x4 v) {
  v = _mm_add_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}
inline F32x4 and4(F32x4 v, const uint32_t* mask) {
  return _mm_and_ps(v, _mm_castsi128_ps(_mm_loadu_si128((const __m128i*)mask)));
}
inline F32x4 load4(const BFloat16* p) {
  return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64((const __m128i*)p)));
}
#else
using F32x4 = float32x4_t;
inline F32x4 load4(const float* p) { return vld1q_f32(p); }
inline void store4(float* p, F32x4 v) { vst1q_f32(p, v); }
inline F32x4 evens4_of(F32x4 low, F32x4 high) {
  return vcombine_f32(vget_low_f32(vuzp1q_f32(low, low)), vget_low_f32(vuzp2q_f32(high, high)));
}
inline F32x4 evens4(const float* p) { return evens4_of(load4(p), load4(p + 3)); }
inline F32x4 zero4() { return vdupq_n_f32(0.0f); }
inline F32x4 splat4(float s) { return vdupq_n_f32(s); }
inline F32x4 add4(F32x4 a, F32x4 b) { return vaddq_f32(a, b); }
inline F32x4 fma4(F32x4 a, F32x4 b, F32x4 c) { return vfmaq_f32(c, a, b); }
inline F32x4 gather4(const float* p, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  F32x4 v = vld1q_dup_f32(p + a);
  v = vld1q_lane_f32(p + b, v, 1);
  v = vld1q_lane_f32(p + c, v, 2);
  return vld1q_lane_f32(p + d, v, 3);
}
inline float sum4(F32x4 v) {
  const float32x2_t half = vadd_f32(vget_low_f32(v), vget_high_f32(v));
  return vget_lane_f32(half, 0) + vget_lane_f32(half, 1);
}
inline F32x4 and4(F32x4 v, const uint32_t* mask) {
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vld1q_u32(mask)));
}
inline F32x4 load4(const BFloat16* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(&p->bits), 16)); }
inline void transpose(F32x4& a, F32x4& b, F32x4& c, F32x4& d) {
  const float32x4x2_t ab = vtrnq_f32(a, b);
  const float32x4x2_t cd = vtrnq_f32(c, d);
  a = vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0]));
  b = vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1]));
  c = vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0]));
  d = vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1]));
}
#endif

// Every second of the 2·kLanes - 1 floats from p on, or of two vectors that begin kLanes - 1 floats apart.
#if defined(__AVX512F__) || defined(SPARSE_ENGINE_SIMULATED_AVX512)
inline Vec evens_of(Vec low, Vec high) {
  const __m512i from = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31);
  return _mm512_permutex2var_ps(low, from, high);
}
#elif defined(__AVX2__)
inline Vec evens_of(Vec low, Vec high) {
  const __m256 in_halves = _mm256_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 2, 0));
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(in_halves), _MM_SHUFFLE(3, 1, 2, 0)));
}
#else
inline Vec evens_of(Vec low, Vec high) { return evens4_of(low, high); }
#endif
inline Vec evens(const float* p) { return evens_of(load(p), load(p + kLanes - 1)); }

// The first `count` of four lanes, zeros in the others.
constexpr uint32_t kLaneMasks[8] = {~0u, ~0u, ~0u, ~0u, 0, 0, 0, 0};
inline F32x4 first_lanes(F32x4 v, int64_t count) { return and4(v, kLaneMasks + 4 - count); }

// Values that are kept narrower than float.
inline float widen(float v) { return v; }
inline float widen(int8_t v) { return v; }
inline float widen(BFloat16 v) {
  const uint32_t bits = static_cast<uint32_t>(v.bits) << 16;
  float wide;
  __builtin_memcpy(&wide, &bits, sizeof(wide));
  return wide;
}
#if defined(__F16C__)
inline float widen(Float16 v) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(v.bits))); }
inline F32x4 load4(const Float16* p) { return _mm_cvtph_ps(_mm_loadl_epi64((const __m128i*)p)); }
#elif defined(__aarch64__)
inline F32x4 load4(const Float16* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&p->bits))); }
inline float widen(Float16 v) { return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(v.bits))), 0); }
#else
inline float widen(Float16 v) {
  const uint32_t sign = static_cast<uint32_t>(v.bits & 0x8000) << 16, exponent = v.bits >> 10 & 31, fraction = v.bits & 0x3ff;
  if (exponent == 0) {  // subnormal: an integer times 2⁻²⁴
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  const uint32_t bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
  float wide;
  __builtin_memcpy(&wide, &bits, sizeof(wide));
  return wide;
}
inline F32x4 load4(const Float16* p) {
  const float wide[4] = {widen(p[0]), widen(p[1]), widen(p[2]), widen(p[3])};
  return load4(wide);
}
#endif

// Scalar twins, for row ends: a tail rounds as the vector body does.
inline float fma(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
