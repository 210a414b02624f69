// The kernels' tables: complete, honest about what they need, and the packing they share.
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

// Packing and unpacking of `rows` × `columns`, the strided side flush with a page that cannot be touched.
TEST(Kernels, PackAndUnpackPanelsOfAnyStridesWithinTheirArrays) {
  for (const Flush side : {Flush::end, Flush::beginning})
    for (const Index rows : {1, 2, 3, 4, 5, 8, 13})
      for (const Index columns : {1, 2, 3, 4, 5, 7, 8, 9, 16, 17})
        for (const bool by_rows : {true, false})
          for (const Index gap : {0, 1, 3}) {
            SCOPED_TRACE(std::to_string(rows) + " × " + std::to_string(columns) + (by_rows ? ", rows" : ", columns") +
                         " contiguous, gap " + std::to_string(gap));
            const Index row_stride = by_rows ? columns + gap : 1, column_stride = by_rows ? 1 : rows + gap;
            const Index size = (rows - 1) * row_stride + (columns - 1) * column_stride + 1, target_columns = columns + 3;
            const std::vector<float> values = integers(size, static_cast<std::uint64_t>(size));
            for_each_isa([&] {
              Guarded<float> source(values, side);
              Guarded<float> packed(std::vector<float>(rows * target_columns, kNaN), side);
              kernels().panel_pack({.source = source.data(),
                                    .row_stride = row_stride,
                                    .column_stride = column_stride,
                                    .rows = rows,
                                    .columns = columns,
                                    .target = packed.data(),
                                    .target_stride = target_columns,
                                    .target_columns = target_columns});
              EXPECT_TRUE(packed.untouched());
              for (Index r = 0; r < rows; ++r)
                for (Index c = 0; c < target_columns; ++c)
                  ASSERT_EQ(packed.data()[r * target_columns + c],
                            c < columns ? values[r * row_stride + c * column_stride] : 0.0f);

              std::vector<float> expected(size, 77.0f);
              for (Index r = 0; r < rows; ++r)
                for (Index c = 0; c < columns; ++c)
                  expected[r * row_stride + c * column_stride] = values[r * row_stride + c * column_stride];
              Guarded<float> unpacked(std::vector<float>(size, 77.0f), side);
              kernels().panel_unpack({.source = packed.data(),
                                      .source_stride = target_columns,
                                      .rows = rows,
                                      .columns = columns,
                                      .target = unpacked.data(),
                                      .row_stride = row_stride,
                                      .column_stride = column_stride});
              EXPECT_TRUE(unpacked.untouched());
              expect_same_bits(unpacked.span(), expected);
            });
          }
}

}  // namespace
}  // namespace sparse_engine
