// Strided views to row-major panels and back.
#include <string>
#include <vector>

#include "base/registry.hpp"
#include "kernels/table.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// Packing and unpacking of `rows` × `columns`, the strided side flush with a page that cannot be touched.
TEST(PanelKernels, PackAndUnpackPanelsOfAnyStridesWithinTheirArrays) {
  for (const Flush side : {Flush::end, Flush::beginning})
    for (const Index rows : {1, 2, 3, 4, 5, 8, 13, 131, 140})  // more than a chunk of what a transposition jumps over
      for (const Index columns : {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 64})
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

// What a stride of two reads of the rows of images.
TEST(PanelKernels, PackEverySecondElementOfRowsWithinTheirArrays) {
  for (const Flush side : {Flush::end, Flush::beginning})
    for (const Index rows : {1, 2, 5})
      for (const Index columns : {1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 28, 33, 64})
        for_each_isa([&] {
          SCOPED_TRACE(std::to_string(rows) + " × " + std::to_string(columns));
          const Index row_stride = 2 * columns + 1, size = (rows - 1) * row_stride + 2 * columns - 1,
                      target_stride = columns + 2;
          const std::vector<float> values = integers(size, static_cast<std::uint64_t>(size));
          Guarded<float> source(values, side), packed(std::vector<float>(rows * target_stride, kNaN), side);
          kernels().panel_pack({source.data(), row_stride, 2, rows, columns, packed.data(), target_stride, columns + 1});
          EXPECT_TRUE(packed.untouched());
          for (Index r = 0; r < rows; ++r) {
            for (Index c = 0; c <= columns; ++c)
              ASSERT_EQ(packed.data()[r * target_stride + c], c < columns ? values[r * row_stride + 2 * c] : 0.0f);
            ASSERT_TRUE(std::isnan(packed.data()[r * target_stride + columns + 1]));
          }
        });
}

// Neither rows nor columns are contiguous: element by element, also backwards.
TEST(PanelKernels, PackAndUnpackWhereNothingIsContiguous) {
  constexpr Index kRows = 7, kColumns = 11, kSize = 1000;
  const std::vector<float> values = integers(kSize, 141);
  struct Strides {
    Index row, column, origin;
  };
  for (const Strides& s :
       {Strides{30, 2, 0}, {2, 30, 5}, {-30, 2, 400}, {30, -1, 20}, {-1, -20, 999}, {1, -13, 600}, {-40, 1, 600}})
    for_each_isa([&] {
      SCOPED_TRACE(std::to_string(s.row) + ", " + std::to_string(s.column));
      std::vector<float> packed(kRows * kColumns, kNaN), unpacked(kSize, 77.0f), expected = unpacked;
      kernels().panel_pack({values.data() + s.origin, s.row, s.column, kRows, kColumns, packed.data(), kColumns, kColumns});
      for (Index r = 0; r < kRows; ++r)
        for (Index c = 0; c < kColumns; ++c) {
          const Index at = s.origin + r * s.row + c * s.column;
          ASSERT_EQ(packed[r * kColumns + c], values[at]);
          expected[at] = values[at];
        }
      kernels().panel_unpack({packed.data(), kColumns, kRows, kColumns, unpacked.data() + s.origin, s.row, s.column});
      expect_same_bits(unpacked, expected);
    });
}

}  // namespace
}  // namespace sparse_engine
