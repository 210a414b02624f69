// How a call gets threads and scratch memory: both are decided here, before any worker starts.
#pragma once

#include <cstdint>
#include <memory>

#include "base/load.hpp"
#include "base/tuning.hpp"
#include "sparse_engine/runtime.hpp"

namespace sparse_engine {

// Threads worth starting for `multiply_adds` of work: a team costs some microseconds, so little work stays on the caller, and
// work that is not going to be shared is not cut up.
inline int threads_for(std::int64_t multiply_adds) {
  return multiply_adds < Tuning::threads.serial_below ? 1 : parallel::load.workers(num_threads());
}

// Scratch memory of one call, 64-byte aligned, its contents arbitrary. It comes from the pool of results and goes back there,
// so a repeated call neither allocates nor faults pages in, and what is kept is bounded. Throws std::bad_alloc.
class Workspace {
 public:
  explicit Workspace(std::int64_t bytes);
  float* data() const { return memory_.get(); }

 private:
  std::shared_ptr<float[]> memory_;  // null for none
};

}  // namespace sparse_engine
