// The only file that names a thread.
//
// parallel_for(tasks, threads, body) calls body(task, worker) for every task in [0, tasks), worker in [0, threads). Each worker
// has a share of neighbouring tasks, the same in every call of as many tasks, because what a core wrote last it writes and
// reads fastest; a worker done with its share takes from the others'. So a result must not depend on which worker ran a task.
// `body` must not throw.
//
// team(threads, body) calls body(worker, barrier) once for every worker, for work in steps: barrier.wait() returns once all
// have called it. It spins, because a step takes microseconds, and gives the core away when that takes long.
//
// A team may have fewer workers than asked for: where other processes want the cores (load.hpp), and inside another team.
//
// The caller's subnormal and rounding modes hold in every worker for the length of the call. After fork() the child computes
// serially when the parent had started workers: an OpenMP runtime does not survive a fork.
#pragma once

#include <pthread.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if !defined(SPARSE_ENGINE_STD_THREADS)
#include <omp.h>
#endif

#include "base/load.hpp"
#include "base/tuning.hpp"

namespace sparse_engine::parallel {

#if defined(SPARSE_ENGINE_STD_THREADS)
inline constexpr const char* kBackend = "std";
inline int default_threads() {
  const unsigned n = std::thread::hardware_concurrency();
  return n == 0 ? 1 : static_cast<int>(n);
}
#else
inline constexpr const char* kBackend = "openmp";
inline int default_threads() { return omp_get_max_threads(); }
#endif

struct FloatEnvironment {
#if defined(__x86_64__)
  static unsigned get() { return _mm_getcsr(); }
  static void set(unsigned mode) { _mm_setcsr(mode); }
  using Mode = unsigned;
#elif defined(__aarch64__)
  static std::uint64_t get() {
    std::uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void set(std::uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
  using Mode = std::uint64_t;
#endif
};

inline std::atomic<int> forks{0};  // of this process's ancestors, since they were loaded
inline std::atomic<bool> workers_started{false};
inline std::atomic<bool> forked_after_workers{false};

// Another library may have started the shared runtime's workers, so all threads of the process count. Linux tells their number
// in the links of a directory; where there is none, they are taken to exist.
inline bool has_other_threads() {
  struct stat tasks;
  return stat("/proc/self/task", &tasks) != 0 || tasks.st_nlink > 3;
}

// Before anything can fork, not at the first call.
inline const int fork_handler = pthread_atfork(
    [] {
      if (has_other_threads()) workers_started.store(true, std::memory_order_relaxed);
    },
    nullptr,
    [] {
      forked_after_workers.store(workers_started.load(std::memory_order_relaxed), std::memory_order_relaxed);
      forks.fetch_add(1, std::memory_order_relaxed);
    });

// Waits a moment in a loop that has gone round `spins` times; from `most` on the core is given away.
inline void spin(int spins, int most) {
  if (spins >= most) return std::this_thread::yield();
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

inline bool serial_only() { return forked_after_workers.load(std::memory_order_relaxed); }

// The tasks nobody has taken yet.
class Shares {
 public:
  Shares(std::int64_t tasks, int workers) : count_(static_cast<std::size_t>(workers)) {
    if (count_ > kFew) more_ = std::vector<Share>(count_);
    for (int worker = 0; worker < workers; ++worker) {
      share(static_cast<std::size_t>(worker)).begin = tasks * worker / workers;
      share(static_cast<std::size_t>(worker)).end = tasks * (worker + 1) / workers;
    }
    restart();
  }

  // All tasks are there again. Nobody may be at work.
  void restart() {
    for (std::size_t i = 0; i < count_; ++i) share(i).next.store(share(i).begin, std::memory_order_relaxed);
  }

  template <class Body>
  void work(int worker, const Body& body) {
    for (std::size_t other = 0; other < count_; ++other) {
      Share& from = share((static_cast<std::size_t>(worker) + other) % count_);
      for (std::int64_t task = from.next++; task < from.end; task = from.next++) body(task, worker);
    }
  }

 private:
  struct alignas(64) Share {  // a cache line each: the owner's counting stays in its core
    std::atomic<std::int64_t> next;
    std::int64_t begin, end;
  };
  static constexpr std::size_t kFew = 16;  // a call of fewer workers allocates nothing

  Share& share(std::size_t i) { return count_ > kFew ? more_[i] : few_[i]; }

  std::size_t count_;
  Share few_[kFew];
  std::vector<Share> more_;
};

class Barrier {
 public:
  explicit Barrier(int workers) : workers_(workers) {}

  // A nested team, or one that the runtime makes smaller, has fewer workers than were asked for: each says so before it waits.
  void resize(int workers) { workers_.store(workers, std::memory_order_relaxed); }

  void wait() {
    const std::uint32_t round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == workers_.load(std::memory_order_relaxed)) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) spin(spins, Tuning::threads.spins);
  }

 private:
  std::atomic<int> workers_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> round_{0};
};

template <class Body>
void team(int threads, const Body& body) {
  if (threads > 1) threads = load.workers(threads);
  if (threads <= 1 || serial_only()) {
    Barrier alone(1);
    body(0, alone);
    return;
  }
  workers_started.store(true, std::memory_order_relaxed);
  const FloatEnvironment::Mode callers = FloatEnvironment::get();
  Barrier barrier(threads);
  const bool watched = load.watched();
  const Nanoseconds call = wall_time();
  Nanoseconds done = call;   // when the caller found no work left
  std::atomic<int> kept{0};  // workers kept from working; the caller cannot do without itself
#if defined(SPARSE_ENGINE_STD_THREADS)
  std::vector<std::thread> workers;
  for (int worker = 1; worker < threads; ++worker)
    workers.emplace_back([&, worker] {
      const Attendance attendance(call, watched);
      FloatEnvironment::set(callers);
      body(worker, barrier);
      kept += attendance.kept_from_work();
    });
  body(0, barrier);
  done = wall_time();
  for (std::thread& worker : workers) worker.join();
#else
#pragma omp parallel num_threads(threads)
  {
    const FloatEnvironment::Mode own = FloatEnvironment::get();
    FloatEnvironment::set(callers);
    barrier.resize(omp_get_num_threads());
    const int worker = omp_get_thread_num();
    if (worker == 0) {
      body(0, barrier);
      done = wall_time();
    } else {
      const Attendance attendance(call, watched);
      body(worker, barrier);
      kept += attendance.kept_from_work();
    }
    FloatEnvironment::set(own);
  }
#endif
  const Nanoseconds end = wall_time();
  load.report(threads, kept, end - done, end);
}

template <class Body>
void parallel_for(std::int64_t tasks, int threads, const Body& body) {
  if (threads > tasks) threads = static_cast<int>(tasks);
  if (threads <= 1 || serial_only()) {
    for (std::int64_t task = 0; task < tasks; ++task) body(task, 0);
    return;
  }
  Shares shares(tasks, threads);
  team(threads, [&](int worker, Barrier&) { shares.work(worker, body); });
}

}  // namespace sparse_engine::parallel
