// The kernels in use. An operation reads this once per call.
#pragma once

#include "kernels/table.hpp"

namespace sparse_engine {

const Kernels& kernels();

// Of vectors half as wide as those of `table`, with the same roundings; null where there are none, and where the caller or the
// environment chose an instruction set, which is then the only one.
const Kernels* narrower_kernels(const Kernels& table);

}  // namespace sparse_engine
