// The kernels in use. An operation reads this once per call.
#pragma once

#include "kernels/table.hpp"

namespace sparse_engine {

const Kernels& kernels();

}  // namespace sparse_engine
