// Zeros where a mask says so.
//
// Method   Eight elements a byte of the mask. Elements are handled as unsigned integers of their size: only their bits matter.
//          What is clean already is not written, so that a look at a clean weight reads memory only.
// Cost     bound by reading the elements; by writing those of which some go.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// True when anything but zero was removed. The elements may be unaligned.
template <class Item>
bool mask_apply(const ApplyArgs& args) {
  auto* const items = static_cast<unsigned char*>(args.items);
  bool changed = false;
  for (uint64_t i = 0; i < args.count; i += 8) {
    const uint8_t keep = args.bits[i / 8];
    if (keep == 0xff) continue;
    const uint64_t n = args.count - i < 8 ? args.count - i : 8;
    unsigned char* const at = items + i * sizeof(Item);
    Item group[8] = {};
    if (n == 8)
      __builtin_memcpy(group, at, sizeof group);
    else
      __builtin_memcpy(group, at, n * sizeof(Item));
    Item removed = 0;
    for (int j = 0; j < 8; ++j) {
      const Item stays = static_cast<Item>(-static_cast<Item>(keep >> j & 1));
      removed = static_cast<Item>(removed | (group[j] & ~stays));
      group[j] = static_cast<Item>(group[j] & stays);
    }
    if (removed == 0) continue;
    changed = true;
    if (n == 8)
      __builtin_memcpy(at, group, sizeof group);
    else
      __builtin_memcpy(at, group, n * sizeof(Item));
  }
  return changed;
}

bool mask_apply8(const ApplyArgs& args) { return mask_apply<uint8_t>(args); }
bool mask_apply16(const ApplyArgs& args) { return mask_apply<uint16_t>(args); }
bool mask_apply32(const ApplyArgs& args) { return mask_apply<uint32_t>(args); }
bool mask_apply64(const ApplyArgs& args) { return mask_apply<uint64_t>(args); }

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
