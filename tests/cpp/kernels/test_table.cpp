// The kernels' tables: complete, and honest about what they need.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/registry.hpp"
#include "kernels/table.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Kernels, AreAllInTheTableOfEveryInstructionSet) {
  for_each_isa([] {
    const Kernels& table = kernels();
    EXPECT_EQ(table.name, isa());
#define KERNEL(kernel, result, arguments) EXPECT_NE(table.kernel, nullptr) << #kernel;
#include "kernels/kernels.inc"
#undef KERNEL
  });
}

TEST(Kernels, ComeFromDifferentObjectsForDifferentInstructionSets) {
  std::set<const void*> tables;
#define KERNEL(kernel, result, arguments) std::set<result(*) arguments> kernel##_functions;
#include "kernels/kernels.inc"
#undef KERNEL
  for_each_isa([&] {
    tables.insert(&kernels());
#define KERNEL(kernel, result, arguments) kernel##_functions.insert(kernels().kernel);
#include "kernels/kernels.inc"
#undef KERNEL
  });
  EXPECT_EQ(tables.size(), supported_isas().size());
#define KERNEL(kernel, result, arguments) EXPECT_EQ(kernel##_functions.size(), tables.size()) << #kernel;
#include "kernels/kernels.inc"
#undef KERNEL
}

TEST(Kernels, HaveVectorsThatDivideATile) {
  for_each_isa([] {
    EXPECT_GE(kernels().lanes, 4);
    EXPECT_EQ(kTileColumns % kernels().lanes, 0);
  });
}

TEST(Kernels, NeedWhatTheirNameSaysAndNoMore) {
  using Needs = std::set<std::string>;
  const Needs baseline = {"sse4.2", "popcnt"};  // less than all of x86-64-v2, so they run on any of them
  Needs avx2 = baseline, avx512;
  avx2.insert({"avx2", "fma", "f16c", "bmi2"});
  avx512 = avx2;
#if !defined(SPARSE_ENGINE_SIMULATED_AVX512)
  avx512.insert({"avx512f", "avx512bw", "avx512dq", "avx512vl"});
#endif
  const std::map<std::string, Needs> expected = {{"baseline", baseline}, {"avx2", avx2}, {"avx512", avx512}, {"neon", {}}};
  for_each_isa([&] {
    Needs needs;
    for (const char* const* need = kernels().needs; *need != nullptr; ++need) needs.insert(*need);
    EXPECT_EQ(needs, expected.at(kernels().name));
  });
}

}  // namespace
}  // namespace sparse_engine
