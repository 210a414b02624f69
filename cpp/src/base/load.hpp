// How many workers a team may have while other processes want the cores. A team's call ends when its last worker has, also
// when that one has lost its core to a neighbour and holds a millisecond of work for ten; without it the others would long be
// done. So workers say how long they were kept from working, teams leave out as many as were, for a while, and then try again:
// soon at first, later more seldom, as long as trying goes wrong.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>

#include "base/tuning.hpp"

namespace sparse_engine::parallel {

using Nanoseconds = std::int64_t;

inline constexpr ThreadTuning kTuning = Tuning::threads;

inline Nanoseconds wall_time() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// What the calling thread has computed.
inline Nanoseconds own_time() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return Nanoseconds{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// A worker's part in a call that began at `call`: made when the worker starts, asked when it is done. What it lost meanwhile is
// known where it is `watched`, which takes a system call.
class Attendance {
 public:
  Attendance(Nanoseconds call, bool watched) : start_(wall_time()), late_(start_ - call), own_(watched ? own_time() : -1) {}

  bool kept_from_work() const {
    if (late_ > kTuning.short_time) return true;
    if (own_ < 0) return false;
    const Nanoseconds all = wall_time() - start_;
    if (all < kTuning.short_time) return false;
    const Nanoseconds worked = own_time() - own_;
    return all - worked > std::max(kTuning.short_time, worked / 4);  // of long work a part: clocks and cores differ a little
  }

 private:
  Nanoseconds start_, late_, own_;
};

class Load {
 public:
  // Of so many wanted.
  int workers(int wanted) {
    const int most = most_.load(std::memory_order_relaxed);
    if (most == 0 || wanted <= most) return wanted;
    const Nanoseconds now = wall_time();
    if (now < until_.load(std::memory_order_relaxed)) return most;
    most_.store(0, std::memory_order_relaxed);
    resumed_.store(now, std::memory_order_relaxed);
    watched_.store(kTuning.watched_calls, std::memory_order_relaxed);
    return wanted;
  }

  // Whether the next call's workers say what they lost.
  bool watched() const { return watched_.load(std::memory_order_relaxed) > 0; }

  // Of a team of `workers`, `kept` were kept from working, and the caller waited so long for the last.
  void report(int workers, int kept, Nanoseconds waited, Nanoseconds now) {
    if (waited > kTuning.short_time)
      watched_.store(kTuning.watched_calls, std::memory_order_relaxed);
    else if (watched())
      watched_.fetch_sub(1, std::memory_order_relaxed);
    if (kept == 0) return;
    const Nanoseconds pause = pause_.load(std::memory_order_relaxed);
    const bool lasted = now - resumed_.load(std::memory_order_relaxed) > 2 * pause;
    const Nanoseconds next = lasted ? kTuning.least_pause : std::min(2 * pause, kTuning.most_pause);
    pause_.store(next, std::memory_order_relaxed);
    until_.store(now + next, std::memory_order_relaxed);
    most_.store(std::max(1, workers - kept), std::memory_order_relaxed);
  }

  // How long the last workers left out stay so.
  Nanoseconds pause() const { return pause_.load(std::memory_order_relaxed); }

 private:
  // Several callers may write at once: any of what they write will do.
  std::atomic<int> most_{0};     // workers of a team; 0 for any number
  std::atomic<int> watched_{0};  // calls
  std::atomic<Nanoseconds> until_{0}, resumed_{0}, pause_{kTuning.least_pause};
};

inline Load load;  // of the machine, as all teams of the process have met it

}  // namespace sparse_engine::parallel
