// Work in steps, all of one before any of the next, for the tasks of a pool. Unlike at a barrier nobody is waited for who holds
// nothing: whoever is there claims what is left of the step, so a single task does all of it, and one that comes late joins in.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>

#include "base/parallel.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {

// Immutable; what changes are counters in memory of the caller's.
class Lockstep {
 public:
  // Items of each step in neighbouring `shares`, one for each worker that is expected.
  Lockstep(std::int64_t steps, std::int64_t items, int shares) : steps_(steps), items_(items), shares_(shares) {}

  // Of the counters, which begin at a cache line.
  std::int64_t bytes() const { return (1 + shares_) * static_cast<std::int64_t>(sizeof(Counter)); }
  // Before anybody works, on one thread.
  void restart(void* counters) const {
    for (std::int64_t i = 0; i <= shares_; ++i) new (static_cast<Counter*>(counters) + i) Counter;
  }

  // Calls body(step, item) for what it claims, of share `home` first, and returns when all steps are done. `body` must not
  // throw.
  template <class Body>
  void work(void* counters, std::int64_t home, const Body& body) const {
    std::atomic<std::int64_t>& done = static_cast<Counter*>(counters)->count;
    Counter* const claimed = static_cast<Counter*>(counters) + 1;
    while (true) {
      // An item is claimed in a step only when all before it are done; a count of an earlier step claims nothing.
      const std::int64_t step = items_ == 0 ? steps_ : done.load(std::memory_order_acquire) / items_;
      if (step >= steps_) return;
      for (std::int64_t other = 0; other < shares_; ++other) {
        const std::int64_t share = (home + other) % shares_, first = items_ * share / shares_;
        const std::int64_t count = items_ * (share + 1) / shares_ - first;
        std::atomic<std::int64_t>& next = claimed[share].count;
        std::int64_t seen = next.load(std::memory_order_relaxed);
        while (seen < (step + 1) * count) {
          if (!next.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed)) continue;
          body(step, first + seen - step * count);
          done.fetch_add(1, std::memory_order_acq_rel);
          seen = next.load(std::memory_order_relaxed);
        }
      }
      for (int spins = 0; done.load(std::memory_order_acquire) < (step + 1) * items_; ++spins)
        parallel::spin(spins, Tuning::session.spins);
    }
  }

 private:
  struct alignas(64) Counter {  // a cache line each
    std::atomic<std::int64_t> count{0};
  };

  std::int64_t steps_, items_, shares_;
};

}  // namespace sparse_engine
