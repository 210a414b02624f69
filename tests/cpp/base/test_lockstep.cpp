#include "base/lockstep.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/task_pool.hpp"

namespace sparse_engine {
namespace {

struct Counters {
  explicit Counters(const Lockstep& lockstep) : bytes(lockstep.bytes()), memory(::operator new(bytes, std::align_val_t(64))) {
    lockstep.restart(memory);
  }
  ~Counters() { ::operator delete(memory, static_cast<std::size_t>(bytes), std::align_val_t(64)); }
  Counters(const Counters&) = delete;
  Counters& operator=(const Counters&) = delete;
  std::int64_t bytes;
  void* memory;
};

TEST(Lockstep, RunsEveryItemOnceAndNoneBeforeAllOfTheStepBeforeAreDone) {
  for (const int threads : {1, 2, 3, 7})
    for (const std::int64_t items : {1, 2, 5, 16}) {
      TaskPool pool(threads);
      constexpr std::int64_t kSteps = 40;
      const Lockstep lockstep(kSteps, items, threads);
      for (int repeat = 0; repeat < 20; ++repeat) {
        const Counters counters(lockstep);
        std::vector<std::atomic<int>> done(kSteps);
        std::vector<int> written(items, -1);  // seen by whoever works on the next step
        std::atomic<bool> wrong{false};
        pool.run(threads, [&](std::int64_t task, int) {
          lockstep.work(counters.memory, task, [&](std::int64_t step, std::int64_t item) {
            if (step > 0 && done[step - 1] != items) wrong = true;
            if (written[item] != step - 1) wrong = true;
            written[item] = static_cast<int>(step);
            ++done[step];
          });
        });
        ASSERT_FALSE(wrong);
        for (const auto& count : done) ASSERT_EQ(count, items);
      }
    }
}

TEST(Lockstep, NeedsNobodyWhoIsNotThere) {
  const Lockstep lockstep(3, 8, 4);
  const Counters counters(lockstep);
  int calls = 0;
  const auto count = [&](std::int64_t step, std::int64_t) { EXPECT_EQ(step, calls++ / 8); };
  lockstep.work(counters.memory, 2, count);
  EXPECT_EQ(calls, 24);
  lockstep.work(counters.memory, 0, count);  // and one that comes when all is done
  EXPECT_EQ(calls, 24);
}

TEST(Lockstep, LetsOneThatComesLateJoinIn) {
  const Lockstep lockstep(100, 4, 2);
  const Counters counters(lockstep);
  std::atomic<int> calls{0}, late{0};
  const auto slowly = [&](std::atomic<int>& own) {
    return [&](std::int64_t, std::int64_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      ++calls;
      ++own;
    };
  };
  std::atomic<int> early{0};
  std::thread first([&] { lockstep.work(counters.memory, 0, slowly(early)); });
  while (calls < 10) std::this_thread::yield();
  lockstep.work(counters.memory, 1, slowly(late));
  first.join();
  EXPECT_EQ(calls, 400);
  EXPECT_GT(late, 0);
}

TEST(Lockstep, OfNoItemsOrStepsIsDoneAtOnce) {
  for (const auto& [steps, items] : {std::pair<int, int>{3, 0}, {0, 3}}) {
    const Lockstep lockstep(steps, items, 2);
    const Counters counters(lockstep);
    lockstep.work(counters.memory, 0, [](std::int64_t, std::int64_t) { FAIL(); });
  }
}

}  // namespace
}  // namespace sparse_engine
