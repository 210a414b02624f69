// Which nodes of a program run image by image, each on one thread, so that no thread waits for another in between.
#pragma once

#include <cstddef>

#include "sparse_engine/program.hpp"

namespace sparse_engine {

// The first nodes, as long as they take one image after another and their products have many columns: how many there are. None
// where the batch does not have an image for every thread.
std::size_t nodes_apart(const Program& program, Index batch, int threads);

}  // namespace sparse_engine
