// Eight columns of a bitmask matrix as eight lanes: the weight where one is stored, zero elsewhere.
//
// Method   A byte of the mask selects a shuffle, which spreads the packed values and writes the zeros. Four lanes are the
// reach
//          of a byte shuffle, so float32 takes two loads, the second past the values of the lower four columns; eight
//          sixteen-bit values lie within the reach of one.
// Tables   Computed at compile time, 32 bytes a mask (16 for float16): with what is hot of x they stay in the L1 cache.
// A mask comes as the byte shifted left by Expand<Value>::kShift, so that on the way out of its word it becomes the offset of
// its shuffle.
#pragma once

#include "kernels/simd/simd.hpp"
#include "kernels/simd/simd8.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

#if defined(__AVX2__)

constexpr uint8_t kZero = 0x80;  // what a byte shuffle takes for "write zero"

struct Shuffles {
  alignas(64) uint8_t bytes[256][32];
};

// Lane `lane` takes the bytes of value `value`, `size` of them, as its upper bytes.
constexpr void place(uint8_t* lanes, int lane, int value, int size, bool stored) {
  for (int byte = 0; byte < 4; ++byte) {
    const int from = byte - (4 - size);
    lanes[4 * lane + byte] = stored && from >= 0 ? static_cast<uint8_t>(value * size + from) : kZero;
  }
}

// Values are counted anew from each `reach` lanes on.
constexpr Shuffles make_shuffles(int size, int reach) {
  Shuffles shuffles{};
  for (int mask = 0; mask < 256; ++mask)
    for (int lane = 0, value = 0; lane < 8; ++lane) {
      if (lane == reach) value = 0;
      const bool stored = (mask >> lane & 1) != 0;
      place(shuffles.bytes[mask], lane, value, size, stored);
      value += stored;
    }
  return shuffles;
}

constexpr Shuffles kShuffles32 = make_shuffles(4, 4), kShuffles16 = make_shuffles(2, 8), kShuffles8 = make_shuffles(1, 8);

struct HalfShuffles {
  alignas(64) uint8_t bytes[256][16];
};
constexpr HalfShuffles make_half_shuffles() {
  HalfShuffles shuffles{};
  for (int mask = 0; mask < 256; ++mask)
    for (int lane = 0; lane < 8; ++lane)
      for (int byte = 0; byte < 2; ++byte) shuffles.bytes[mask][2 * lane + byte] = kShuffles16.bytes[mask][4 * lane + 2 + byte];
  return shuffles;
}
constexpr HalfShuffles kHalfShuffles = make_half_shuffles();

template <class Value>
struct Expand;

template <>
struct Expand<float> {
  enum { kShift = 5 };
  [[gnu::always_inline]] inline F32x8 operator()(const float* values, uint64_t mask) const {
    const float* upper = values + __builtin_popcountll(mask & 0xf << kShift);
    const __m256 both = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(values)), _mm_loadu_ps(upper), 1);
    const __m256i shuffle = _mm256_load_si256((const __m256i*)((const uint8_t*)kShuffles32.bytes + mask));
    return _mm256_castsi256_ps(_mm256_shuffle_epi8(_mm256_castps_si256(both), shuffle));
  }
};

template <>
struct Expand<BFloat16> {
  enum { kShift = 5 };
  [[gnu::always_inline]] inline F32x8 operator()(const BFloat16* values, uint64_t mask) const {
    const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)values));
    const __m256i shuffle = _mm256_load_si256((const __m256i*)((const uint8_t*)kShuffles16.bytes + mask));
    return _mm256_castsi256_ps(_mm256_shuffle_epi8(both, shuffle));
  }
};

template <>
struct Expand<Float16> {
  enum { kShift = 4 };
  [[gnu::always_inline]] inline F32x8 operator()(const Float16* values, uint64_t mask) const {
    const __m128i shuffle = _mm_load_si128((const __m128i*)((const uint8_t*)kHalfShuffles.bytes + mask));
    return _mm256_cvtph_ps(_mm_shuffle_epi8(_mm_loadu_si128((const __m128i*)values), shuffle));
  }
};

template <>
struct Expand<int8_t> {
  enum { kShift = 5 };
  [[gnu::always_inline]] inline F32x8 operator()(const int8_t* values, uint64_t mask) const {
    const __m256i both = _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i*)values));
    const __m256i shuffle = _mm256_load_si256((const __m256i*)((const uint8_t*)kShuffles8.bytes + mask));
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_shuffle_epi8(both, shuffle), 24));
  }
};

// Lanes of x whose bit is 0 become zero.
inline F32x8 keep_lanes(F32x8 x, uint64_t byte) {
  const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i kept = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(byte)), bits), bits);
  return _mm256_and_ps(x, _mm256_castsi256_ps(kept));
}

#else

template <class Value>
struct Expand {
  enum { kShift = 0 };
  inline F32x8 operator()(const Value* values, uint64_t mask) const {
    float lanes[8] = {};
    for (; mask != 0; mask &= mask - 1) lanes[__builtin_ctzll(mask)] = widen(*values++);
    return load8(lanes);
  }
};

inline F32x8 keep_lanes(F32x8 x, uint64_t byte) {
  float lanes[8];
  store8(lanes, x);
  for (int lane = 0; lane < 8; ++lane)
    if ((byte >> lane & 1) == 0) lanes[lane] = 0.0f;
  return load8(lanes);
}

#endif

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
