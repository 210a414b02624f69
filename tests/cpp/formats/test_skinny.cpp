// What formats share for products with few columns.
#include "formats/skinny.hpp"

#include <limits>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Narrow, TellsAKernelWhereTheRowsOfAJobBegin) {
  const std::vector<float> x(8), bias(10);
  std::vector<float> y(100);
  const SkinnyJob job{.kernels = nullptr,
                      .row_begin = 3,
                      .row_end = 9,
                      .columns = 5,
                      .x = x.data(),
                      .x_stride = 40,
                      .bias = bias.data(),
                      .residual = y.data() + 1,
                      .activation = Activation::gelu,
                      .y = y.data(),
                      .y_row_stride = 7,
                      .y_column_stride = 2};
  const SkinnyArgs args = skinny_args(job);
  EXPECT_EQ(args.rows, 6);
  EXPECT_EQ(args.columns, 5);
  EXPECT_EQ(args.x, x.data());
  EXPECT_EQ(args.bias, bias.data() + 3);
  EXPECT_EQ(args.residual, y.data() + 1 + 21);
  EXPECT_EQ(args.y, y.data() + 21);
  EXPECT_EQ(args.y_row_stride, 7);
  EXPECT_EQ(args.y_column_stride, 2);
  EXPECT_EQ(args.activation, Activation::gelu);
  SkinnyJob bare = job;
  bare.bias = bare.residual = nullptr;
  EXPECT_EQ(skinny_args(bare).bias, nullptr) << "nothing is not moved";
  EXPECT_EQ(skinny_args(bare).residual, nullptr);
}

TEST(Narrow, LaysXOutWithoutOverlapsAndWithColumnsInDifferentSetsOfTheCache) {
  for (const Index rows : {0, 1, 15, 16, 17, 31, 32, 33, 64, 1000, 4096}) {
    const SkinnyStrides one = skinny_strides(SkinnyOrder::columns, rows, 1);
    EXPECT_EQ(one.row, 1);
    EXPECT_EQ(one.floats, rows);
    for (Index columns = 2; columns <= kSkinnyColumns; ++columns) {
      const SkinnyStrides by_rows = skinny_strides(SkinnyOrder::rows, rows, columns);
      EXPECT_EQ(by_rows.row, 8);
      EXPECT_EQ(by_rows.column, 1);
      EXPECT_EQ(by_rows.floats, 8 * rows);
      const SkinnyStrides by_columns = skinny_strides(SkinnyOrder::columns, rows, columns);
      EXPECT_EQ(by_columns.row, 1);
      EXPECT_GE(by_columns.column, rows);
      EXPECT_EQ(by_columns.column % 32, 16) << "an odd number of lines, for " << rows << " rows";
      EXPECT_EQ(by_columns.floats, by_columns.column * columns);
    }
  }
  EXPECT_REFUSED(skinny_strides(SkinnyOrder::rows, std::numeric_limits<Index>::max() / 4, 2), "packed input");
}

// Row after row, by the definition: the first with at least that much of weights and rows before it.
Index slowly(const std::vector<Index>& starts, Index share, Index shares) {
  const Index rows = static_cast<Index>(starts.size()) - 1;
  for (Index row = 0; row < rows; ++row)
    if ((starts[row] + row) * shares >= (starts.back() + rows) * share) return row;
  return rows;
}

TEST(Narrow, CutsRowsSoThatEveryShareHasItsPartOfTheWeights) {
  Random random(181);
  for (const Index rows : {0, 1, 2, 7, 100})
    for (const Index most : {0, 1, 50}) {
      std::vector<Index> starts = {0};
      for (Index row = 0; row < rows; ++row)
        starts.push_back(starts.back() + (row % 5 == 3 ? 20 * most : random.between(0, most)));
      for (const Index shares : {1, 2, 3, 8, 200}) {
        EXPECT_EQ(start_at_share(starts, 0, shares), 0);
        EXPECT_EQ(start_at_share(starts, shares, shares), rows);
        for (Index share = 0; share <= shares; ++share) {
          ASSERT_EQ(start_at_share(starts, share, shares), slowly(starts, share, shares)) << share << " of " << shares;
          if (share > 0) {
            ASSERT_LE(start_at_share(starts, share - 1, shares), start_at_share(starts, share, shares));
          }
        }
      }
    }
}

}  // namespace
}  // namespace sparse_engine
