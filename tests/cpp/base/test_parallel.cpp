// Threads, seen from outside: the caller's floating-point modes, forked children, and calls from several threads at once.
#include <fenv.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(_OPENMP)
#include <omp.h>
#endif

#include "base/parallel.hpp"
#include "reference_conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

#if defined(__x86_64__)
constexpr std::uint64_t kFlags = 0x3f, kFlush = 0x8040;  // results and inputs
std::uint64_t float_mode() { return _mm_getcsr() & ~kFlags; }
void set_float_mode(std::uint64_t mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#else
constexpr std::uint64_t kFlush = 1u << 24;
std::uint64_t float_mode() {
  std::uint64_t mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void set_float_mode(std::uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#endif

// The work of every operation, each large enough to be shared among threads.
struct Work {
  Weights weights = integer_weights(700, 700, 0.95, 1), filters = integer_weights(32, 16 * 9, 0.5, 2);
  Csr matrix = weights.csr(), kernel = filters.csr();
  ConvCase images{
      {.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}, 2, 16, 20, 20, 32};
  std::vector<float> vector = integers(700, 3), panel = integers(700 * 6, 4), x = integers(images.inputs(), 5);

  // The results of all of them, one after the other.
  std::vector<float> run() const {
    std::vector<float> all = multiplied(matrix, vector, 1);
    const std::vector<float> wide = multiplied(matrix, panel, 6), convolution = convolved(images, kernel, x);
    all.insert(all.end(), wide.begin(), wide.end());
    all.insert(all.end(), convolution.begin(), convolution.end());
    std::vector<std::uint8_t> bits(mask_bytes(x.size()));
    keep_largest(x, x.size() / 3, bits);
    all.insert(all.end(), bits.begin(), bits.end());
    return all;
  }
};

TEST(Parallel, KeepsTheCallersSubnormalModeInEveryWorker) {
  const Weights w{700, 700, std::vector<float>(490000, 0x1p-100f)};
  const Csr csr = w.csr();
  const std::uint64_t before = float_mode();
  ASSERT_EQ(before & kFlush, 0u);
  for (const Index n : {1, 5}) {
    const std::vector<float> x(700 * n, 0x1p-40f), sums(700 * n, 700 * 0x1p-140f), zeros(700 * n);
    for_each_isa([&] {
      for (const int threads : {1, 2, 3, 8}) {
        SCOPED_TRACE(threads);
        const Threads used(threads);
        expect_same_bits(multiplied(csr, x, n), sums);
        set_float_mode(before | kFlush);
        const std::vector<float> flushed = multiplied(csr, x, n);
        const std::uint64_t after = float_mode();
        set_float_mode(before);
        EXPECT_EQ(after, before | kFlush);
        expect_same_bits(flushed, zeros);
        expect_same_bits(multiplied(csr, x, n), sums);  // the workers flush no longer
      }
    });
  }
  EXPECT_EQ(float_mode(), before);
}

TEST(Parallel, KeepsTheCallersRoundingInEveryWorker) {
  const Csr csr = real_weights(700, 700, 0.95, 6).csr();
  for (const Index n : {1, 5}) {
    const std::vector<float> x = reals(700 * n, 7), nearest = multiplied(csr, x, n);
    for (const int direction : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
      std::vector<std::vector<float>> results;
      for (const int threads : {1, 2, 3, 8}) {
        const Threads used(threads);
        fesetround(direction);
        results.push_back(multiplied(csr, x, n));
        const int after = fegetround();
        fesetround(FE_TONEAREST);
        EXPECT_EQ(after, direction);
        expect_same_bits(results.back(), results.front());
      }
      EXPECT_NE(results.front(), nearest);
    }
    expect_same_bits(multiplied(csr, x, n), nearest);
  }
}

#if defined(_OPENMP)
TEST(Parallel, LeavesTheModesOfWorkersThatOthersShareAsTheyWere) {
  const Work work;
  const Threads used(3);
  const std::uint64_t before = float_mode();
  // Those that exist from here on. On a busy machine teams are smaller, the runtime ends a thread and starts another one later,
  // which takes over the mode of the one that starts it.
  std::set<pid_t> workers;
  std::atomic<int> changed{0};
#pragma omp parallel num_threads(3)
#pragma omp critical
  workers.insert(gettid());
  ASSERT_EQ(workers.size(), 3);
  set_float_mode(before | kFlush);
  const std::vector<float> flushed = multiplied(work.matrix, work.vector, 1);
  set_float_mode(before);
  expect_exactly(flushed, product(work.weights, work.vector, 1));  // integers do not underflow
#pragma omp parallel num_threads(3)
  changed += workers.contains(gettid()) && float_mode() != before;
  EXPECT_EQ(changed, 0);
}
#endif

// Runs `body` in a forked child with a time limit, and returns how it ended; 0 when `body` returned true.
template <class Body>
int in_child(const Body& body) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGALRM, SIG_DFL);
    alarm(kSlow ? 120 : 20);
    _exit(body() ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

TEST(Parallel, AForkedChildComputesAfterTheParentUsedThreads) {
  const Work work;
  const Threads used(3);
  const std::vector<float> expected = work.run();
  EXPECT_EQ(in_child([&] { return work.run() == expected; }), 0);
  EXPECT_EQ(work.run(), expected) << "the parent goes on";
  EXPECT_EQ(in_child([&] {
              const Work own;  // nothing inherited
              set_num_threads(2);
              return own.run() == expected && in_child([&] { return work.run() == expected; }) == 0;
            }),
            0);
}

#if defined(_OPENMP)
// OpenMP's workers do not survive a fork, whoever started them: torch, in a process that has not called this library yet.
TEST(Parallel, AForkedChildComputesAfterAnotherLibraryUsedOpenMP) {
  const Work work;
  const Threads used(2);
  int workers = 0;
#pragma omp parallel num_threads(2) reduction(+ : workers)
  workers += 1;
  ASSERT_EQ(workers, 2);
  const int status = in_child([&] { return work.run().size() > 0; });
  EXPECT_FALSE(WIFSIGNALED(status)) << "signal " << WTERMSIG(status) << ", 14 being the time limit";
  EXPECT_EQ(status, 0);
}
#endif

TEST(Parallel, CallsFromSeveralThreadsOnOneMatrixGiveTheSameBits) {
  std::vector<float> expected;
  {
    const Threads one(1);
    expected = Work().run();
  }
  for (const int threads : {1, 2, 3}) {
    SCOPED_TRACE(threads);
    const Threads used(threads);
    for (int round = 0; round < (kSlow ? 2 : 5); ++round) {
      const Work work;  // fresh: its layouts are made by whichever caller comes first
      std::atomic<int> ready{0}, right{0};
      const auto call = [&] {
        for (++ready; ready < 4;) std::this_thread::yield();
        for (int i = 0; i < 3; ++i) right += work.run() == expected && work.matrix.bytes() > 0;
      };
      std::vector<std::thread> callers;
      for (int i = 0; i < 4; ++i) callers.emplace_back(call);
      for (std::thread& caller : callers) caller.join();
      EXPECT_EQ(right, 12);
    }
  }
}

TEST(Parallel, MasksFromSeveralThreadsAtOnceAreRight) {
  std::vector<float> scores = reals((1 << 21) + 3, 8);
  for (float& s : scores) s = std::round(s * 50);
  std::vector<std::uint8_t> expected(mask_bytes(scores.size()));
  keep_largest(scores, scores.size() / 4, expected);
  ASSERT_EQ(count_kept(expected, scores.size()), scores.size() / 4);
  const Threads used(2);
  std::atomic<int> right{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i)
    callers.emplace_back([&] {
      std::vector<std::uint8_t> bits(expected.size());
      keep_largest(scores, scores.size() / 4, bits);
      right += bits == expected;
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(right, 4);
}

// One thread changes the instruction set while another computes: each call must use one of them from beginning to end.
TEST(Parallel, AChangeOfTheInstructionSetDuringACallLeavesItsResultRight) {
  const std::vector<std::string> isas = supported_isas();
  if (isas.size() < 2) GTEST_SKIP() << "this machine has one instruction set";
  const std::string before(isa());
  const Weights w = integer_weights(20, 30, 0.5, 9);
  const Csr csr = w.csr();
  const ConvCase c{{.kernel_h = 2, .kernel_w = 2}, 1, 4, 5, 5, 6};
  const Weights filters = integer_weights(6, c.cols(), 0.5, 10);
  const Csr kernel = filters.csr();
  const std::vector<float> x = integers(30 * 9, 11), image = integers(c.inputs(), 12);
  const Expected convolution_expected = convolution(c, filters, image);
  std::atomic<bool> done{false};
  std::thread changes([&] {
    for (std::size_t i = 0; !done; ++i) set_isa(isas[i % isas.size()]);
  });
  for (int round = 0; round < (kSlow ? 300 : 5000) && !HasFatalFailure(); ++round) {
    for (const Index n : {1, 4, 9}) expect_exactly(multiplied(csr, x, n), product(w, x, n));
    expect_exactly(convolved(c, kernel, image), convolution_expected);
  }
  done = true;
  changes.join();
  set_isa(before);
}

TEST(Parallel, AWorkerDoesItsOwnShareFirstAndThenTheOthers) {
  parallel::Shares shares(10, 3);
  std::vector<Index> done;
  shares.work(1, [&](Index task, int worker) {
    EXPECT_EQ(worker, 1);
    done.push_back(task);
  });
  EXPECT_EQ(done, (std::vector<Index>{3, 4, 5, 6, 7, 8, 9, 0, 1, 2}));
  shares.work(0, [](Index task, int) { FAIL() << task << " is done twice"; });
  shares.restart();
  done.clear();
  shares.work(2, [&](Index task, int) { done.push_back(task); });
  EXPECT_EQ(done, (std::vector<Index>{6, 7, 8, 9, 0, 1, 2, 3, 4, 5}));
}

TEST(Parallel, NobodyPassesABarrierBeforeAllHaveReachedIt) {
  for (const int threads : {1, 2, 3, 8}) {  // more than there are cores, too
    constexpr int kSteps = 300;
    std::atomic<int> arrived{0}, workers{0};
    std::vector<int> plain(kSteps);  // written by one worker, read by all after the barrier
    std::atomic<int> wrong{0};
    parallel::team(threads, [&](int worker, parallel::Barrier& barrier) {
      ++workers;
      barrier.wait();
      const int all = workers;
      for (int step = 0; step < kSteps; ++step) {
        ++arrived;
        if (step % all == worker) plain[step] = step + 1;
        barrier.wait();
        if (arrived < (step + 1) * all || plain[step] != step + 1) ++wrong;
        barrier.wait();
      }
    });
    EXPECT_EQ(wrong, 0);
    EXPECT_LE(workers, threads);
    EXPECT_EQ(arrived, workers * kSteps);
  }
}

constexpr parallel::Nanoseconds kSecond = 1'000'000'000;

TEST(Parallel, GivesTheSameBitsWithWorkersLeftOutAndBesideBusyThreads) {
  const Work work;
  const Threads used(3);
  const std::vector<float> expected = work.run();
  for (const int kept : {2, 1}) {
    parallel::load.report(3, kept, 0, parallel::wall_time() + 100 * kSecond);
    EXPECT_EQ(parallel::load.workers(3), 3 - kept);
    EXPECT_EQ(work.run(), expected);
  }
  parallel::load.report(3, 1, 0, parallel::wall_time() - 100 * kSecond);
  EXPECT_EQ(parallel::load.workers(3), 3);
  std::atomic<bool> done{false};
  std::vector<std::thread> neighbours;
  for (int i = 0; i < 4; ++i)
    neighbours.emplace_back([&] {
      while (!done) continue;
    });
  for (int round = 0; round < (kSlow ? 2 : 20); ++round) EXPECT_EQ(work.run(), expected);
  done = true;
  for (std::thread& neighbour : neighbours) neighbour.join();
}

#if defined(_OPENMP)
TEST(Parallel, ATeamInsideATeamHasOneWorkerAndItsBarrierOpens) {
  std::atomic<int> done{0};
  const int levels = omp_get_max_active_levels();
  omp_set_max_active_levels(1);
#pragma omp parallel num_threads(2)
  parallel::team(3, [&](int, parallel::Barrier& barrier) {
    barrier.wait();
    ++done;
  });
  omp_set_max_active_levels(levels);
  EXPECT_EQ(done, 2);
}
#endif

}  // namespace
}  // namespace sparse_engine
