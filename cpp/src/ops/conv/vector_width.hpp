// Which vectors read planes faster.
#pragma once

#include "kernels/table.hpp"

namespace sparse_engine {

// `table`, or kernels of vectors half as wide where these multiply planes faster: taps begin anywhere, so every vector as wide
// as a cache line straddles two, and some processors then load it at half their speed. Measured once, in a millisecond; results
// have the same bits either way.
const Kernels* kernels_for_planes(const Kernels& table);

}  // namespace sparse_engine
