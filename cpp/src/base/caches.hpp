// What the caches of this machine hold. tuning.hpp says what follows from it.
#pragma once

#include <string>

#include "sparse_engine/types.hpp"

namespace sparse_engine {

struct Caches {
  Index level1 = 32 << 10, level2 = 512 << 10, level3 = 32 << 20;  // bytes; of a core, of a core, and of those that share it
};

// As the kernel describes the first processor below `directory`; what it does not say is as in Caches{}. The third level counts
// up to 128 MB: where more is announced it is shared with others whom this process does not see.
Caches read_caches(const std::string& directory);

}  // namespace sparse_engine
