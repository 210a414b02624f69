// The kernels' tables: complete, and honest about what they need.
#include <gtest/gtest.h>

#include <cstdint>
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

// Calls body(name, pointer) for every kernel of a table, of every type.
template <class Body>
void for_each_kernel(const Kernels& table, const Body& body) {
#define KERNEL(kernel, result, arguments) body(#kernel, table.kernel);
#define KERNEL_FOR(kernel, types, result, arguments) table.kernel.for_each([&](auto* one) { body(#kernel, one); });
#include "kernels/kernels.inc"
#undef KERNEL
#undef KERNEL_FOR
}

TEST(Kernels, AreAllInTheTableOfEveryInstructionSet) {
  for_each_isa([] {
    const Kernels& table = kernels();
    EXPECT_EQ(table.name, isa());
    for_each_kernel(table, [](const char* name, auto* kernel) { EXPECT_NE(kernel, nullptr) << name; });
  });
}

TEST(Kernels, ComeFromDifferentObjectsForDifferentInstructionSets) {
  std::set<const void*> tables;
  std::set<std::uintptr_t> functions;
  std::size_t entries = 0;
  for_each_isa([&] {
    tables.insert(&kernels());
    entries = 0;
    for_each_kernel(kernels(), [&](const char* name, auto* kernel) {
      EXPECT_TRUE(functions.insert(reinterpret_cast<std::uintptr_t>(kernel)).second) << name << " is another entry as well";
      ++entries;
    });
  });
  EXPECT_EQ(tables.size(), supported_isas().size());
  EXPECT_EQ(functions.size(), entries * tables.size());
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
