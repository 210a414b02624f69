#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(DotRows, AreExactOnIntegersAndWriteNothingElse) {
  for_each_isa([&] {
    for (const Index rows : {0, 1, 2, 3, 4, 5, 8, 11})
      for (const Index columns : {0, 1, 7, 8, 16, 17, 33, 64}) {
        const Index a_row = columns + 3;
        const std::vector<float> a = integers(rows * a_row + 1, 21), x = integers(columns + 1, 22);
        std::vector<float> y(rows + 1, kNaN);
        kernels().dot_rows({a.data(), a_row, rows, columns, x.data(), y.data()});
        for (Index r = 0; r < rows; ++r) {
          double sum = 0;
          for (Index i = 0; i < columns; ++i) sum += double{a[r * a_row + i]} * x[i];
          ASSERT_EQ(y[r], sum) << rows << " × " << columns << " at " << r;
        }
        ASSERT_TRUE(std::isnan(y[rows]));
      }
  });
}

TEST(DotRows, StayWithinTheBoundAndAreTheSameWhereverARowStands) {
  constexpr Index rows = 7;
  for_each_isa([&] {
    for (const Index columns : {5, 64, 150}) {
      const std::vector<float> a = reals(rows * columns, 23), x = reals(columns, 24);
      std::vector<float> y(rows, kNaN), alone(rows, kNaN);
      kernels().dot_rows({a.data(), columns, rows, columns, x.data(), y.data()});
      for (Index r = 0; r < rows; ++r) {
        double sum = 0, magnitude = 0;
        for (Index i = 0; i < columns; ++i) {
          const double product = double{a[r * columns + i]} * x[i];
          sum += product, magnitude += std::abs(product);
        }
        ASSERT_NEAR(y[r], sum, gamma(columns + 2) * magnitude);
        kernels().dot_rows({a.data() + r * columns, columns, 1, columns, x.data(), alone.data() + r});
      }
      expect_same_bits(alone, y);
    }
  });
}

}  // namespace
}  // namespace sparse_engine
