#include <cstdlib>

#include "probe.hpp"
#include "sparse_engine/runtime.hpp"

namespace sparse_engine {

// SPARSE_ENGINE_ISAS is X(name) for every instruction set of the build.
#define X(name)                 \
  namespace name {              \
  extern const SimdProbe probe; \
  }
SPARSE_ENGINE_ISAS
#undef X

const SimdProbe& simd_probe() {
#define X(name) \
  if (isa() == #name) return name::probe;
  SPARSE_ENGINE_ISAS
#undef X
  std::abort();
}

}  // namespace sparse_engine
