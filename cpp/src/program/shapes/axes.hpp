// What shapes of several operations are made of.
#pragma once

#include <vector>

#include "sparse_engine/program.hpp"

namespace sparse_engine {

// A size that must not depend on the batch; `axis` names it. Throws std::invalid_argument where it does.
Index fixed(const NodeInfo& node, const Size& size, const char* axis);

// Of (N, C, H, W), or of (N, C, W) with height 1.
struct Plane {
  Index height, width;
};

// Throws std::invalid_argument for any other number of axes, and for planes that depend on the batch.
Plane plane_of(const NodeInfo& node, const std::vector<Size>& x);

// As many axes as x, with other channels and another plane. Throws std::invalid_argument for a height that x has no axis for.
std::vector<Size> with_plane(const NodeInfo& node, const std::vector<Size>& x, Index channels, const Plane& plane);

}  // namespace sparse_engine
