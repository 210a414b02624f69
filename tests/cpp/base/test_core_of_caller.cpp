#include "base/core_of_caller.hpp"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace sparse_engine {
namespace {

std::vector<int> cores_of(const cpu_set_t& set) {
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  return cores;
}

cpu_set_t set_of(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(core, &set);
  return set;
}

// The core in whose queue a thread of this process lies.
int core_of(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
  std::string line;
  std::getline(file, line);
  std::size_t at = line.rfind(") ") + 2;
  for (int skipped = 3; skipped < 39; ++skipped) at = line.find(' ', at) + 1;  // "processor" is field 39, the state field 3
  return std::stoi(line.substr(at));
}

// A thread that is never idle and may run on `core` alone.
class Busy {
 public:
  explicit Busy(int core)
      : thread_([this, core] {
          const cpu_set_t set = set_of({core});
          pthread_setaffinity_np(pthread_self(), sizeof set, &set);
          id_ = gettid();
          while (!stopping_) continue;
        }) {
    while (id_ == 0) std::this_thread::yield();
  }
  ~Busy() {
    stopping_ = true;
    thread_.join();
  }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

  std::thread& thread() { return thread_; }
  pid_t id() const { return id_; }
  void allow(const std::vector<int>& cores) {
    const cpu_set_t set = set_of(cores);
    ASSERT_EQ(pthread_setaffinity_np(thread_.native_handle(), sizeof set, &set), 0);
  }
  std::vector<int> allowed() {
    cpu_set_t set;
    pthread_getaffinity_np(thread_.native_handle(), sizeof set, &set);
    return cores_of(set);
  }

 private:
  std::atomic<bool> stopping_{false};
  std::atomic<pid_t> id_{0};
  std::thread thread_;
};

class CoreOfCaller : public testing::Test {
 protected:
  CoreOfCaller() {
    pthread_getaffinity_np(pthread_self(), sizeof before_, &before_);
    cores_ = cores_of(before_);
    if (cores_.size() < 2) return;
    cores_.resize(2);
    const cpu_set_t first = set_of({cores_[0]});
    pthread_setaffinity_np(pthread_self(), sizeof first, &first);
  }
  ~CoreOfCaller() override { pthread_setaffinity_np(pthread_self(), sizeof before_, &before_); }
  void SetUp() override {
    if (cores_.size() < 2) GTEST_SKIP() << "one core";
  }

  // A thread that may run on `core` alone.
  static void expect_kept(int core) {
    Busy busy(core);
    leave_core_of_caller(busy.thread());
    EXPECT_EQ(core_of(busy.id()), core);
    EXPECT_EQ(busy.allowed(), std::vector<int>{core});
  }

  cpu_set_t before_{};
  std::vector<int> cores_;  // two of those there are; this thread stays on the first
};

TEST_F(CoreOfCaller, IsLeftByAThreadThatMayRunElsewhereWhoseCoresStayTheSame) {
  Busy busy(cores_[0]);
  busy.allow(cores_);
  leave_core_of_caller(busy.thread());
  EXPECT_EQ(core_of(busy.id()), cores_[1]);
  EXPECT_EQ(busy.allowed(), cores_);
}

TEST_F(CoreOfCaller, IsKeptByAThreadThatMayRunNowhereElse) { expect_kept(cores_[0]); }

TEST_F(CoreOfCaller, DoesNotConcernAThreadThatRunsElsewhere) { expect_kept(cores_[1]); }

}  // namespace
}  // namespace sparse_engine
