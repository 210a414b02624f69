#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Gemm, IsExactOnIntegersAndWritesNothingElse) {
  for_each_isa([&] {
    for (const Index rows : {1, 2, 4, 5, 9})
      for (const Index columns : {1, 7, 8, 16, 17, 24, 25, 47, 48, 49, 64, 65, 130})
        for (const Index depth : {0, 1, 6, 33}) {
          const Index b_row = (columns + 15) / 16 * 16 + 16, a_row = depth + 3, y_row = columns + 2;
          const std::vector<float> a = integers(rows * a_row + 1, 11), b = integers(depth * b_row + 1, 12);
          std::vector<float> y(rows * y_row, kNaN);
          kernels().gemm({a.data(), a_row, 1, rows, depth, b.data(), b_row, columns, y.data(), y_row});
          for (Index r = 0; r < rows; ++r) {
            for (Index c = 0; c < columns; ++c) {
              double sum = 0;
              for (Index k = 0; k < depth; ++k) sum += double{a[r * a_row + k]} * b[k * b_row + c];
              ASSERT_EQ(y[r * y_row + c], sum) << rows << " × " << depth << " × " << columns << " at " << r << ", " << c;
            }
            for (Index c = columns; c < y_row; ++c) ASSERT_TRUE(std::isnan(y[r * y_row + c]));
          }
        }
  });
}

TEST(Gemm, ReadsTheFirstFactorInAnyOrderAndStaysWithinTheBound) {
  constexpr Index rows = 6, columns = 37, depth = 150, b_row = 48;
  const std::vector<float> a = reals(rows * depth, 13), b = reals(depth * b_row, 14);
  for_each_isa([&] {
    std::vector<float> y(rows * columns, kNaN);
    kernels().gemm({a.data(), 1, rows, rows, depth, b.data(), b_row, columns, y.data(), columns});  // a is transposed
    for (Index r = 0; r < rows; ++r)
      for (Index c = 0; c < columns; ++c) {
        double sum = 0, magnitude = 0;
        for (Index k = 0; k < depth; ++k) {
          const double product = double{a[k * rows + r]} * b[k * b_row + c];
          sum += product, magnitude += std::abs(product);
        }
        ASSERT_NEAR(y[r * columns + c], sum, gamma(depth + 2) * magnitude);
      }
  });
}

}  // namespace
}  // namespace sparse_engine
