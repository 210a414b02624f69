#include "base/task_pool.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace sparse_engine {
namespace {

TEST(TaskPool, RunsEveryTaskOnceWhateverTheNumberOfThreadsAndTasks) {
  for (const int threads : {1, 2, 3, 7}) {
    TaskPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int repeat = 0; repeat < 50; ++repeat)
      for (const std::int64_t tasks : {0, 1, 2, 3, 10, 100}) {
        std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
        std::atomic<bool> strange{false};
        pool.run(tasks, [&](std::int64_t task, int worker) {
          if (worker < 0 || worker >= threads) strange = true;
          ++runs[static_cast<std::size_t>(task)];
        });
        for (const auto& count : runs) ASSERT_EQ(count, 1);
        ASSERT_FALSE(strange);
      }
  }
}

TEST(TaskPool, NeverRunsTwoTasksAtOnceUnderOneNumber) {
  TaskPool pool(3);
  std::atomic<int> at_work[3] = {};
  std::atomic<bool> together{false};
  for (int repeat = 0; repeat < 200; ++repeat)
    pool.run(16, [&](std::int64_t, int worker) {
      if (++at_work[worker] != 1) together = true;
      --at_work[worker];
    });
  EXPECT_FALSE(together);
}

TEST(TaskPool, SeesWhatTheCallerWroteAndTheCallerWhatTasksWrote) {
  TaskPool pool(4);
  std::vector<int> from(64), to(64);
  for (int repeat = 1; repeat < 300; ++repeat) {
    for (int& value : from) value = repeat;
    pool.run(64, [&](std::int64_t task, int) { to[static_cast<std::size_t>(task)] = from[static_cast<std::size_t>(task)]; });
    for (const int value : to) ASSERT_EQ(value, repeat);
  }
}

TEST(TaskPool, WakesWorkersThatFellAsleep) {
  TaskPool pool(2);
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> seen{0};
    pool.run(2, [&](std::int64_t, int worker) {
      seen |= 1 << worker;
      const auto begin = std::chrono::steady_clock::now();  // so that one worker cannot do both
      while (seen != 3 && std::chrono::steady_clock::now() - begin < std::chrono::seconds(10)) std::this_thread::yield();
    });
    EXPECT_EQ(seen, 3);
  }
}

// Files in /proc about the threads that pools named.
std::vector<std::filesystem::path> workers_in_proc() {
  std::vector<std::filesystem::path> found;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "comm");
    std::string name;
    std::getline(file, name);
    if (name.starts_with("sparse-")) found.push_back(task.path());
  }
  return found;
}

// 'S' where the threads that pools named sleep, 'R' where one of them looks out for work.
char state_of_workers() {
  char found = 'S';
  for (const auto& worker : workers_in_proc()) {
    std::ifstream file(worker / "stat");
    std::string line;
    std::getline(file, line);
    if (line[line.find(") ") + 2] == 'R') found = 'R';
  }
  return found;
}

TEST(TaskPool, KeepsWorkersAwakeDuringASeriesAndNoLonger) {
  TaskPool pool(2);
  pool.run(2, [](std::int64_t, int) {});
  const auto comes_to = [](char state) {  // it takes a worker some time to wake up or to fall asleep
    for (int i = 0; i < 2000; ++i) {
      if (state_of_workers() == state) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  };
  EXPECT_TRUE(comes_to('S'));
  {
    const TaskPool::Series series(pool);
    EXPECT_TRUE(comes_to('R'));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_TRUE(comes_to('R')) << "after a thousand times as long as it looks out for work otherwise";
    std::atomic<int> tasks{0};
    pool.run(10, [&](std::int64_t, int) { ++tasks; });
    EXPECT_EQ(tasks, 10);
  }
  EXPECT_TRUE(comes_to('S'));
}

// A worker that a scheduler woke where its caller computes.
TEST(TaskPool, FetchesWorkersFromTheCoreOfTheCaller) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  if (CPU_COUNT(&before) < 2) GTEST_SKIP() << "one core";
  TaskPool pool(2);
  std::filesystem::path worker;
  for (int i = 0; i < 1000 && worker.empty(); ++i) {
    if (const auto found = workers_in_proc(); !found.empty()) worker = found.front();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ASSERT_FALSE(worker.empty());
  const pid_t id = std::stoi(worker.filename());
  const int here = sched_getcpu();
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(here, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  ASSERT_EQ(sched_setaffinity(id, sizeof one, &one), 0);
  while (state_of_workers() != 'S') std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::atomic<int> elsewhere{0};
  {
    const TaskPool::Series series(pool);
    ASSERT_EQ(sched_setaffinity(id, sizeof before, &before), 0);  // it may run elsewhere, which moves nothing
    // Its other core may be busy for a while.
    for (int run = 0; run < 5000 && elsewhere == 0; ++run)
      pool.run(4, [&](std::int64_t, int number) {
        if (number == 1 && sched_getcpu() != here) ++elsewhere;
        const auto begin = std::chrono::steady_clock::now();
        while (std::chrono::steady_clock::now() - begin < std::chrono::microseconds(100)) continue;
      });
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
  EXPECT_GT(elsewhere, 0);
}

TEST(TaskPool, ManyLiveSideBySide) {
  std::vector<std::thread> callers;
  std::atomic<std::int64_t> sum{0};
  for (int caller = 0; caller < 4; ++caller)
    callers.emplace_back([&] {
      TaskPool pool(2);
      for (int repeat = 0; repeat < 100; ++repeat) pool.run(10, [&](std::int64_t task, int) { sum += task; });
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 4 * 100 * 45);
}

#if !defined(__SANITIZE_THREAD__)
TEST(TaskPool, ComputesSeriallyInAChildProcess) {
  TaskPool pool(3);
  std::atomic<int> runs{0};
  pool.run(10, [&](std::int64_t, int) { ++runs; });
  const pid_t child = fork();
  if (child == 0) {
    std::atomic<int> own{0};
    pool.run(10, [&](std::int64_t, int worker) { own += worker == 0; });
    _exit(own == 10 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}
#endif

}  // namespace
}  // namespace sparse_engine
