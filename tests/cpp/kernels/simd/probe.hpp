// The operations that kernels are written in, for a test to call: probe.cpp is compiled once per instruction set, as the
// kernels' table is. Vectors come and go through memory, `lanes` floats of Vec, four or eight of the others.
#pragma once

#include <cstdint>

#include "sparse_engine/types.hpp"

namespace sparse_engine {

struct SimdProbe {
  int lanes;
  bool fuses, picks;

  // Vec
  void (*copy)(const float* a, float* out);    // load, store
  void (*stream)(const float* a, float* out);  // out aligned
  void (*splat)(float a, float* out);
  void (*splat_of_four)(const float* a, float* out);  // four vectors, one of each
  void (*pick)(const float* a, const std::uint32_t* lanes, float* out);
  void (*evens)(const float* a, float* out);  // of 2 · lanes - 1 floats
  void (*fma)(const float* a, const float* b, const float* c, float* out);
  void (*arithmetic)(const float* a, const float* b, float* out);  // add, sub, mul, div, max, min: six vectors
  void (*bits)(const float* a, const float* b, float* out);        // of both, of either: two vectors
  void (*low_bits_to_exponent)(const float* a, float* out);
  void (*by_sign)(const float* a, const float* negative, const float* positive, float* out);

  // F32x4
  void (*four)(const float* a, const float* b, float* out);  // add, a · b + a, splat of a's first, zero: four vectors
  void (*transpose)(const float* a, float* out);             // 4 × 4
  void (*evens4)(const float* a, float* out);                // of seven floats
  void (*gather4)(const float* p, const std::uint32_t* at, float* out);
  float (*sum4)(const float* a);
  void (*first_lanes)(const float* a, std::int64_t count, float* out);

  // Scalars, and values kept narrower
  float (*fma_scalar)(float a, float b, float c);
  float (*widen_bfloat16)(BFloat16 v);
  float (*widen_float16)(Float16 v);
  float (*widen_int8)(std::int8_t v);
  void (*load_bfloat16)(const BFloat16* p, float* out);  // four, then eight
  void (*load_float16)(const Float16* p, float* out);

  // F32x8
  void (*eight)(const float* a, const float* b, float* out);  // add, a · b + a, splat of a's first: three vectors
  float (*sum8)(const float* a);
  bool (*all_finite)(const float* a);
  void (*transpose4)(const float* source, std::int64_t source_stride, float* target, std::int64_t target_stride);
  void (*transpose8)(const float* source, std::int64_t source_stride, float* target, std::int64_t target_stride);
  void (*pick_in_halves)(const float* p, const std::uint32_t* picks, int next, float* out);
  void (*pick_of_eight)(const float* p, std::uint32_t picks, float* out);

  // Lanes
  void (*load_lanes)(const float* p, std::int64_t begin, std::int64_t end, float* out);
  void (*store_first)(const float* a, std::int64_t count, float* out);

  // Packs: each operation they know, of `packed` vectors one by one and of a pack; a + 1 of up to 2 · packed + 1 vectors.
  void (*pack_operations)(const float* a, const float* b, const float* c, float* out);
  void (*operations_of_pack)(const float* a, const float* b, const float* c, float* out);
  void (*by_packs)(const float* a, int count, float* out);
  int packed;
};

// Of the instruction set in use.
const SimdProbe& simd_probe();

}  // namespace sparse_engine
