// How a call gets threads and room: both are decided here, before any worker starts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/load.hpp"
#include "sparse_engine/runtime.hpp"

namespace sparse_engine {

// Threads worth starting for `multiply_adds` of work: a team costs some microseconds, so little work stays on the caller, and
// work that is not going to be shared is not cut up.
inline int threads_for(std::int64_t multiply_adds) {
  constexpr std::int64_t kSerialBelow = 400'000;  // about 20 µs on one core
  return multiply_adds < kSerialBelow ? 1 : parallel::load.workers(num_threads());
}

// A weight of a narrow product costs as much as some columns of a wide one: it is read and taken apart for them alone.
inline constexpr std::int64_t kColumnsWorth = 4;

// Room for intermediate panels, kept by each calling thread and grown when a call needs more, so that a repeated call neither
// allocates nor faults pages in. Slots of one call must not share an index.
enum class Room { packed_input, output_tiles, gates };
float* room(Room which, std::int64_t floats);  // 64-byte aligned; throws std::bad_alloc

}  // namespace sparse_engine
