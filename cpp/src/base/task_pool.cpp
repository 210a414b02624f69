#include "base/task_pool.hpp"

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "base/core_of_caller.hpp"
#include "base/parallel.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {

using parallel::FloatEnvironment;
using Clock = std::chrono::steady_clock;

namespace {
constexpr int kAsleep = -2;
}

struct TaskPool::State {
  // Tasks of one worker: the number of the run in the upper half, how many nobody has claimed in the lower. A worker that is
  // late finds the number of another run and claims nothing of it.
  struct alignas(64) Share {
    std::atomic<std::uint64_t> left{0};
    std::atomic<int> core{kAsleep};  // that the worker was on when it began its last run, or that it sleeps
  };

  explicit State(int threads) : shares(static_cast<std::size_t>(threads)), forks(parallel::forks.load()) {}

  // Claims and runs tasks of run `number` until there are none. What a run is made of is read after a claim: until that task
  // is done, it does not change.
  void work(int worker, std::uint32_t number) {
    const auto count = shares.size();
    for (std::size_t other = 0; other < count; ++other) {
      const std::size_t from = (static_cast<std::size_t>(worker) + other) % count;
      std::atomic<std::uint64_t>& left = shares[from].left;
      std::uint64_t seen = left.load(std::memory_order_acquire);
      std::int64_t made = 0;
      while (seen >> 32 == number && static_cast<std::uint32_t>(seen) != 0) {
        if (!left.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
        if (worker != 0) FloatEnvironment::set(mode);
        const std::int64_t end = tasks * (static_cast<std::int64_t>(from) + 1) / static_cast<std::int64_t>(count);
        function(context, end - static_cast<std::uint32_t>(seen), worker);
        ++made;
        seen = left.load(std::memory_order_acquire);
      }
      if (made != 0) done.fetch_add(made, std::memory_order_release);
    }
  }

  void serve(int worker) {
    pthread_setname_np(pthread_self(), ("sparse-" + std::to_string(worker)).c_str());
    std::uint32_t number = 0;
    std::atomic<int>& core = shares[static_cast<std::size_t>(worker)].core;
    while (true) {
      std::uint32_t now = run.load(std::memory_order_acquire);
      for (int spins = 0; now == number; now = run.load(std::memory_order_acquire)) {
        if (spins < Tuning::session.spins)
          parallel::spin(spins++, Tuning::session.spins);
        else if (in_series.load(std::memory_order_relaxed))
          std::this_thread::yield();
        else {
          core.store(kAsleep, std::memory_order_relaxed);
          run.wait(number, std::memory_order_acquire);
        }
      }
      number = now;
      if (stopping.load(std::memory_order_relaxed)) return;
      if (const int here = current_core(); core.load(std::memory_order_relaxed) != here)
        core.store(here, std::memory_order_relaxed);
      work(worker, number);
    }
  }

  // Workers that have not come when they should, and those that came to the core that the caller keeps busy, are sent
  // elsewhere.
  void look_for_workers() {
    const auto since = std::chrono::nanoseconds(Clock::now() - begin).count();
    if (since < look_after) return;
    look_after = 2 * since;
    const int here = current_core();
    for (std::size_t worker = 1; worker < shares.size(); ++worker)
      if (const int core = shares[worker].core.load(std::memory_order_relaxed); core == kAsleep || core == here)
        leave_core_of_caller(workers[worker - 1]);
  }

  std::vector<Share> shares;
  std::vector<std::thread> workers;
  const int forks;  // when it was made
  // Of the current run.
  std::int64_t tasks = 0;
  Function function = nullptr;
  const void* context = nullptr;
  FloatEnvironment::Mode mode{};
  // Of the current series, the caller's.
  Clock::time_point begin;
  Index look_after = 0;  // nanoseconds
  alignas(64) std::atomic<std::int64_t> done{0};
  alignas(64) std::atomic<std::uint32_t> run{0};
  std::atomic<bool> in_series{false};
  std::atomic<bool> stopping{false};
};

TaskPool::TaskPool(int threads) : threads_(threads < 1 ? 1 : threads) {
  if (threads_ == 1) return;
  state_ = std::make_unique<State>(threads_);
  for (int worker = 1; worker < threads_; ++worker)
    state_->workers.emplace_back([state = state_.get(), worker] { state->serve(worker); });
}

TaskPool::~TaskPool() {
  if (!state_) return;
  if (state_->forks != parallel::forks.load()) {  // the threads are the parent's
    static_cast<void>(state_.release());
    return;
  }
  state_->stopping = true;
  state_->run.fetch_add(1, std::memory_order_release);
  state_->run.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

bool TaskPool::serial() const { return !state_ || state_->forks != parallel::forks.load(std::memory_order_relaxed); }

// A run of nothing wakes who sleeps: the shares are still of another.
void TaskPool::begin_series() {
  if (serial()) return;
  state_->begin = Clock::now();
  state_->look_after = Tuning::session.late;
  state_->in_series.store(true, std::memory_order_relaxed);
  state_->run.fetch_add(1, std::memory_order_release);
  state_->run.notify_all();
}

void TaskPool::end_series() {
  if (!serial()) state_->in_series.store(false, std::memory_order_relaxed);
}

void TaskPool::run_tasks(std::int64_t tasks, Function function, const void* context) {
  if (tasks <= 1 || serial()) {
    for (std::int64_t task = 0; task < tasks; ++task) function(context, task, 0);
    return;
  }
  State& s = *state_;
  if (s.in_series.load(std::memory_order_relaxed)) s.look_for_workers();
  s.tasks = tasks;
  s.function = function;
  s.context = context;
  s.mode = FloatEnvironment::get();
  s.done.store(0, std::memory_order_relaxed);
  std::uint32_t number = s.run.load(std::memory_order_relaxed) + 1;
  const auto count = static_cast<std::int64_t>(s.shares.size());
  for (std::int64_t worker = 0; worker < count; ++worker) {
    const std::int64_t share = tasks * (worker + 1) / count - tasks * worker / count;
    s.shares[static_cast<std::size_t>(worker)].left.store(std::uint64_t{number} << 32 | static_cast<std::uint64_t>(share),
                                                          std::memory_order_release);
  }
  s.run.store(number, std::memory_order_release);
  s.run.notify_all();
  s.work(0, number);
  for (int spins = 0; s.done.load(std::memory_order_acquire) != tasks; ++spins) parallel::spin(spins, Tuning::session.spins);
}

}  // namespace sparse_engine
