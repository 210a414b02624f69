// Memory for results, kept for the next call that asks for as much.
#pragma once

#include <memory>

#include "sparse_engine/types.hpp"

namespace sparse_engine {

// Room for `floats` elements, uninitialised, 64-byte aligned; given back when the last owner lets go, from whatever thread.
// Fresh pages of the system are zeroed one by one at first touch, which costs more than many a product that writes them; what
// is kept for later is at most kKeptBytes. Throws std::bad_alloc.
std::shared_ptr<float[]> result_buffer(Index floats);

inline constexpr Index kKeptBytes = Index{128} << 20;

// Gives what is kept back to the system.
void release_buffers();

}  // namespace sparse_engine
