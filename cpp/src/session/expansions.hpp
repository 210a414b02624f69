// Which depthwise convolutions are computed together with the pointwise ones before them, as in inverted residual blocks
// (Sandler et al., "MobileNetV2", CVPR 2018): what lies between them never leaves a core's cache.
#pragma once

#include <vector>

#include "session/views.hpp"
#include "sparse_engine/program.hpp"

namespace sparse_engine {

// Of each node the one before it that is computed with it, or -1. Nodes before `apart_until` run image by image; pairs do not
// span it.
std::vector<Index> find_expansions(const Program& program, const std::vector<View>& views, std::size_t apart_until);

}  // namespace sparse_engine
