// Phases of a strided result, computed one beside the other, to their places.
#pragma once

#include "sparse_engine/types.hpp"

namespace sparse_engine {

// Every stride of an axis is as many phases of it; groups of channels have their phases together.
struct Interleaving {
  Index groups = 1;
  Index stride_d = 1, stride_h = 1, stride_w = 1;
};

// y[n, g·C + c, s_d·d + r_d, s_h·h + r_h, s_w·w + r_w] = x[n, (g·P + r)·C + c, d, h, w] for the phase r = (r_d, r_h, r_w) of
// P = s_d·s_h·s_w. y may end inside its last blocks. What is copied keeps its bits.
// Throws std::invalid_argument when shapes disagree. x and y must not overlap.
void interleave(const ConstVolumes& x, const Interleaving& s, const Volumes& y);

}  // namespace sparse_engine
