// How many workers a team may have while other processes want the cores.
#include "base/load.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <utility>

namespace sparse_engine {
namespace {

constexpr parallel::Nanoseconds kSecond = 1'000'000'000;

TEST(Load, AWorkerThatCameLateOrWasOffItsCoreIsNoticed) {
  EXPECT_TRUE(parallel::Attendance(parallel::wall_time() - kSecond, false).kept_from_work());
  const parallel::Attendance watched(parallel::wall_time(), true), unwatched(parallel::wall_time() + kSecond, false);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_TRUE(watched.kept_from_work());
  EXPECT_FALSE(unwatched.kept_from_work());
}

TEST(Load, WorkersKeptFromWorkingAreLeftOutForAWhileAndThenTriedAgain) {
  parallel::Load load;
  EXPECT_EQ(load.workers(4), 4);
  load.report(4, 0, 0, parallel::wall_time());
  EXPECT_EQ(load.workers(4), 4);
  EXPECT_FALSE(load.watched());
  load.report(4, 1, 0, parallel::wall_time() + 100 * kSecond);
  for (const auto& [wanted, had] : {std::pair{4, 3}, {8, 3}, {3, 3}, {2, 2}, {1, 1}}) EXPECT_EQ(load.workers(wanted), had);
  load.report(3, 2, 0, parallel::wall_time() + 100 * kSecond);
  EXPECT_EQ(load.workers(4), 1);
  load.report(2, 2, 0, parallel::wall_time() - 100 * kSecond);  // never none; and that while is over
  EXPECT_EQ(load.workers(4), 4);
  EXPECT_TRUE(load.watched());
}

TEST(Load, TriesWorkersMoreSeldomAsLongAsTheyAreKeptFromWorking) {
  parallel::Load load;
  parallel::Nanoseconds before = 0;
  for (int i = 0; i < 12; ++i) {
    load.report(2, 1, 0, parallel::wall_time() - 10 * kSecond);
    EXPECT_EQ(load.workers(2), 2) << "tried again";
    load.report(2, 1, 0, parallel::wall_time() - 10 * kSecond);
    EXPECT_GE(load.pause(), before);
    before = load.pause();
  }
  EXPECT_EQ(before, Tuning::threads.most_pause);
  load.report(2, 1, 0, parallel::wall_time() + 10 * kSecond);
  EXPECT_EQ(load.pause(), Tuning::threads.least_pause) << "all went well for long";
}

TEST(Load, ACallerThatWaitedLongHasTheNextWorkersWatched) {
  parallel::Load load;
  load.report(2, 0, Tuning::threads.short_time + 1, 0);
  for (int i = 0; i < Tuning::threads.watched_calls; ++i) {
    EXPECT_TRUE(load.watched());
    load.report(2, 0, 0, 0);
  }
  EXPECT_FALSE(load.watched());
}

TEST(Load, AWorkerThatComputedAllTheTimeWasNotKeptFromWork) {
  // Another process may take the core meanwhile, and then saying so is right: one of a few tries is enough.
  bool worked = false;
  for (int trial = 0; trial < 50 && !worked; ++trial) {
    const parallel::Attendance attendance(parallel::wall_time(), true);
    const parallel::Nanoseconds until = parallel::own_time() + 2 * Tuning::threads.short_time;
    while (parallel::own_time() < until) {
    }
    worked = !attendance.kept_from_work();
  }
  EXPECT_TRUE(worked);
}

TEST(Load, CountsOwnTimeOnlyWhileTheThreadComputes) {
  const parallel::Nanoseconds own = parallel::own_time(), wall = parallel::wall_time();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_GE(parallel::wall_time() - wall, 20'000'000);
  EXPECT_LT(parallel::own_time() - own, 20'000'000);
}

TEST(Load, ReportsOfTeamsThatLostNobodyChangeNothing) {
  parallel::Load load;
  for (int i = 0; i < 100; ++i) load.report(8, 0, 0, i * kSecond);
  EXPECT_EQ(load.workers(8), 8);
  EXPECT_EQ(load.pause(), Tuning::threads.least_pause);
  EXPECT_FALSE(load.watched());
}

}  // namespace
}  // namespace sparse_engine
