#include "base/tuning.hpp"

#include <algorithm>

namespace sparse_engine {
namespace {

constexpr Index kFloatBytes = sizeof(float), kPanelBytes = 64 * kFloatBytes;  // a row of a panel

Tuning& found() {
  static Tuning tuning = tuned_for(read_caches("/sys/devices/system/cpu/cpu0/cache"));
  return tuning;
}

}  // namespace

Tuning tuned_for(const Caches& caches) {
  Tuning t;
  t.block_floats = std::max<Index>(1, caches.level1 / kFloatBytes);
  t.strip_block_floats = std::max<Index>(1, caches.level2 / 4 / kFloatBytes);
  t.tile_rows = std::clamp<Index>(caches.level2 / 8 / kPanelBytes, 32, 256);
  t.band_bytes = caches.level2 / 8 * 5;
  t.near_bytes = caches.level2 * 8;
  t.kept_weights_bytes = caches.level2 / 8;
  t.matrix_bytes = caches.level3 / 16 * 3;
  t.result_bytes = caches.level3 / 2;
  t.pack_channels = std::max<Index>(1, caches.level1 / 2 / kPanelBytes);
  return t;
}

const Tuning& tuning() { return found(); }

void set_tuning(const Tuning& t) { found() = t; }

}  // namespace sparse_engine
