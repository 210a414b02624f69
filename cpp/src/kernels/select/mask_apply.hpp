// Zeros where a mask says so.
//
// Method   Eight elements a byte of the mask. Elements are handled as unsigned integers of their size: only their bits matter.
//          What is clean already is not written, so that a look at a clean weight reads memory only.
// Cost     bound by reading the elements; by writing those of which some go.
#pragma once

#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// Zeros in up to eight elements; true when anything but zero was removed. The elements may be unaligned.
template <class Item>
bool mask_apply_group(uint8_t keep, unsigned char* at, uint64_t n) {
  Item group[8] = {};
  __builtin_memcpy(group, at, n * sizeof(Item));
  Item removed = 0;
  for (int j = 0; j < 8; ++j) {
    const Item stays = static_cast<Item>(-static_cast<Item>(keep >> j & 1));
    removed = static_cast<Item>(removed | (group[j] & ~stays));
    group[j] = static_cast<Item>(group[j] & stays);
  }
  if (removed == 0) return false;
  __builtin_memcpy(at, group, n * sizeof(Item));
  return true;
}

template <class Item>
bool mask_apply_eight(uint8_t keep, unsigned char* at) {
#if defined(__AVX2__)
  if constexpr (sizeof(Item) == 4) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i goes = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(keep), bit), _mm256_setzero_si256());
    const __m256i group = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    if (_mm256_testz_si256(goes, group)) return false;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), _mm256_andnot_si256(goes, group));
    return true;
  }
#endif
  return mask_apply_group<Item>(keep, at, 8);
}

template <class Item>
bool mask_apply(const ApplyArgs<Item>& args) {
  auto* const items = static_cast<unsigned char*>(args.items);
  bool changed = false;
  const uint64_t whole = args.count / 8 * 8;
  for (uint64_t i = 0; i < whole; i += 8) {
    const uint8_t keep = args.bits[i / 8];
    if (keep != 0xff) changed |= mask_apply_eight<Item>(keep, items + i * sizeof(Item));
  }
  if (whole < args.count)
    changed |= mask_apply_group<Item>(args.bits[whole / 8], items + whole * sizeof(Item), args.count - whole);
  return changed;
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
