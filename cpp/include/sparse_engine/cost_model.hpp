// What a product is expected to take, by the format of its weights: which are worth timing, and which to take untimed.
#pragma once

#include <string_view>

#include "sparse_engine/types.hpp"

namespace sparse_engine {

// Products of up to so many columns are bound by the bytes of W.
inline constexpr Index kSkinnyColumns = 8;

// Time of W · X relative to dense W, for a share `density` of weights stored and so many columns of X. Formats are "csr",
// "bitmask", "bsr4x1" and "nm2:4". Throws std::invalid_argument for another.
double product_cost(std::string_view format, double density, Index columns);

}  // namespace sparse_engine
