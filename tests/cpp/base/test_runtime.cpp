#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/registry.hpp"
#include "sparse_engine/runtime.hpp"

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// Every instruction set that kernels were compiled for, weakest first.
#define X(name) #name,
const std::vector<std::string> kKnown = {SPARSE_ENGINE_ISAS};
#undef X

bool is_supported(const std::string& name) {
  const std::vector<std::string> supported = supported_isas();
  return std::find(supported.begin(), supported.end(), name) != supported.end();
}

// The environment is read once per process, so each of these looks at it in a process of its own; gtest runs suites named
// DeathTest first, before anything else has asked for it.
#define EXPECT_IN_NEW_PROCESS(variable, value, condition) \
  EXPECT_EXIT(                                            \
      {                                                   \
        setenv(variable, value, 1);                       \
        _exit((condition) ? 0 : 1);                       \
      },                                                  \
      testing::ExitedWithCode(0), "")                     \
      << variable << "=" << value

TEST(EnvironmentDeathTest, ChoosesTheInstructionSetOrIsRefused) {
  for (const std::string& name : kKnown) {
    if (is_supported(name)) {
      EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_ISA", name.c_str(), isa() == name);
    } else {
      EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_ISA", name.c_str(),
                            mentions(refusal([] { isa(); }), "SPARSE_ENGINE_ISA = '" + name + "' needs instructions"));
    }
  }
}

TEST(EnvironmentDeathTest, OneThatIsChosenIsTheOnlyOne) {
  const auto narrower = [] { return narrower_kernels(kernels()); };
  for (const std::string& name : supported_isas()) {
    EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_ISA", name.c_str(), narrower() == nullptr);
    EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_ISA", "", (set_isa(name), narrower() == nullptr));
  }
  EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_ISA", "", narrower() == nullptr || narrower()->lanes * 2 == kernels().lanes);
  EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_ISA", "", (narrower() != nullptr) == (isa() == "avx512"));
}

TEST(EnvironmentDeathTest, RefusesAnInstructionSetThatIsUnknown) {
  for (const char* name : {"quantum", "AVX2", "avx", "baseline ", "avx2,avx512"})
    EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_ISA", name,
                          mentions(refusal([] { isa(); }), "SPARSE_ENGINE_ISA = '" + std::string(name) + "' is not one of"));
}

TEST(EnvironmentDeathTest, RefusesToComputeRatherThanToFallBack) {
  const Csr w = integer_weights(4, 4, 0.5, 1).csr();
  EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_ISA", "quantum",
                        mentions(refusal([&] { multiplied(w, integers(4, 2), 1); }), "quantum") &&
                            mentions(refusal([&] { multiplied(w, integers(8, 2), 2); }), "quantum"));
}

TEST(EnvironmentDeathTest, TakesAnEmptyValueAsNone) {
  EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_ISA", "", is_supported(std::string(isa())));
  EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_NUM_THREADS", "", num_threads() >= 1);
}

TEST(EnvironmentDeathTest, SetsTheNumberOfThreads) {
  EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_NUM_THREADS", "3", num_threads() == 3);
  EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_NUM_THREADS", "4096", num_threads() == 4096);
  EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_NUM_THREADS", "5", (set_num_threads(2), num_threads() == 2));
  EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_NUM_THREADS", "5", (set_num_threads(2), set_num_threads(0), num_threads() == 5));
}

TEST(EnvironmentDeathTest, RefusesANumberOfThreadsThatIsNone) {
  for (const char* text : {"0", "-1", "4097", "two", "2x", "1e3", " ", "99999999999999999999"})
    EXPECT_IN_NEW_PROCESS("SPARSE_ENGINE_NUM_THREADS", text,
                          mentions(refusal([] { num_threads(); }), "SPARSE_ENGINE_NUM_THREADS = '" + std::string(text) + "'"));
}

TEST(Runtime, ListsInstructionSetsFromWeakToStrong) {
  const std::vector<std::string> supported = supported_isas();
  ASSERT_FALSE(supported.empty());
  EXPECT_EQ(supported.front(), kKnown.front()) << "the weakest runs everywhere";
  std::vector<std::string> in_order;
  for (const std::string& name : kKnown)
    if (is_supported(name)) in_order.push_back(name);
  EXPECT_EQ(supported, in_order);
}

TEST(Runtime, UsesTheInstructionSetThatWasChosen) {
  const std::string before(isa());
  for (const std::string& name : kKnown) {
    if (is_supported(name)) {
      set_isa(name);
      EXPECT_EQ(isa(), name);
    } else {
      EXPECT_REFUSED(set_isa(name), "isa = '" + name + "' needs instructions this processor lacks; it can run: " + kKnown[0]);
    }
  }
  set_isa(before);
}

TEST(Runtime, RefusesAnUnknownInstructionSetAndKeepsTheOldOne) {
  const std::string before(isa());
  for (const std::string name : {"", "quantum", "BASELINE", "avx", "avx22", "sse4.2"})
    EXPECT_REFUSED(set_isa(name), "isa = '" + name + "' is not one of: " + kKnown[0]);
  EXPECT_EQ(isa(), before);
}

TEST(Runtime, GivesTheSameBitsAfterAnotherInstructionSetWasInUse) {
  const Csr w = real_weights(40, 300, 0.3, 1).csr();
  const std::string before(isa());
  for (const Index n : {1, 13}) {
    const std::vector<float> x = reals(300 * n, 2), first = multiplied(w, x, n);
    for (const std::string& name : supported_isas()) {
      set_isa(name);
      multiplied(w, x, n);
      set_isa(before);
      expect_same_bits(multiplied(w, x, n), first);
    }
  }
}

TEST(Runtime, SetsTheNumberOfThreadsWithinItsLimits) {
  for (const int n : {1, 2, 7, 4096}) {
    const Threads used(n);
    EXPECT_EQ(num_threads(), n);
    for (const int bad : {-1, -4096, INT_MIN, 4097, INT_MAX}) {
      EXPECT_REFUSED(set_num_threads(bad), "num_threads = " + std::to_string(bad) + " is outside [0, 4096]");
      EXPECT_EQ(num_threads(), n) << "a refused number changes nothing";
    }
  }
  EXPECT_GE(num_threads(), 1);
}

TEST(Runtime, ComputesWithMoreThreadsThanThereIsWorkFor) {
  const Weights w = integer_weights(40, 20000, 0.9, 3);
  const std::vector<float> x = integers(20000, 4);
  const Threads used(64);
  expect_exactly(multiplied(w.csr(), x, 1), product(w, x, 1));
}

TEST(Runtime, NamesItsThreads) {
#if defined(_OPENMP)
  EXPECT_EQ(thread_backend(), "openmp");
#else
  EXPECT_EQ(thread_backend(), "std");
#endif
}

#if defined(_OPENMP)
TEST(Runtime, ObeysTheNumberOfThreadsOfTheSharedOpenMPAndLeavesIt) {
  if (std::getenv("SPARSE_ENGINE_NUM_THREADS") != nullptr)
    GTEST_SKIP() << "SPARSE_ENGINE_NUM_THREADS goes before OpenMP's number";
  const int before = omp_get_max_threads();
  for (const int n : {1, 3, 5}) {
    omp_set_num_threads(n);
    EXPECT_EQ(num_threads(), n);
    multiplied(real_weights(500, 500, 0.8, 5).csr(), reals(500 * 4, 6), 4);
    {
      const Threads used(2);
      multiplied(real_weights(500, 500, 0.8, 5).csr(), reals(500 * 4, 6), 4);
    }
    EXPECT_EQ(omp_get_max_threads(), n);
  }
  omp_set_num_threads(before);
}
#endif

}  // namespace
}  // namespace sparse_engine
