// What the caches of this machine hold, for what is laid out to stay in them. Sizes of blocks and bands follow from it, never
// an order of summation: results are the same on a machine with other caches.
#pragma once

#include <string>

#include "sparse_engine/types.hpp"

namespace sparse_engine {

struct Caches {
  Index level2 = 512 << 10, level3 = 32 << 20;  // bytes; of a core, and of those that share it

  // Planes of a convolution that are read once for each row of the kernel stay in a core's own cache, with what else it needs.
  Index band() const { return level2 / 8 * 5; }
  // More of an operand is not in the cores' own caches.
  Index near() const { return level2 * 8; }
  // More of a matrix that is read once a call comes from memory, its neighbours' data having gone through the cache meanwhile.
  Index matrix() const { return level3 / 16 * 3; }
  // More of a result is no longer in the shared cache when it is read.
  Index result() const { return level3 / 2; }
};

// As the kernel describes the first processor below `directory`; what it does not say is as in Caches{}. The third level counts
// up to 128 MB: where more is announced it is shared with others whom this process does not see.
Caches read_caches(const std::string& directory);

const Caches& caches();            // those of this machine, read at the first call
void set_caches(const Caches& c);  // tests only, while nothing else runs

}  // namespace sparse_engine
