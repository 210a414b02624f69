#include "base/workspace.hpp"

#include "sparse_engine/buffer_pool.hpp"

namespace sparse_engine {

Workspace::Workspace(std::int64_t bytes) {
  constexpr std::int64_t kFloatBytes = sizeof(float);
  if (bytes > 0) memory_ = result_buffer(bytes / kFloatBytes + (bytes % kFloatBytes != 0));
}

}  // namespace sparse_engine
