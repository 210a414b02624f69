#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(ResizeRow, LiesBetweenTwoRowsAndTwoColumns) {
  for_each_isa([&] {
    for (const Index width : {1, 2, 7, 8, 16, 19, 40})
      for (const float weight : {0.0f, 0.25f, 0.7f, 1.0f}) {
        const Index outputs = 2 * width + 3;
        const std::vector<float> upper = reals(width, 71), lower = reals(width, 72);
        std::vector<float> columns(outputs), weights(outputs), folded(width, kNaN), y(outputs + 1, kNaN);
        Random random(73);
        for (Index i = 0; i < outputs; ++i) {
          columns[i] = static_cast<float>(random.between(0, width - 1));
          weights[i] = static_cast<float>(random.unit());
        }
        kernels().resize_row(
            {upper.data(), lower.data(), weight, width, columns.data(), weights.data(), outputs, folded.data(), y.data()});
        for (Index i = 0; i < outputs; ++i) {
          const auto left = static_cast<Index>(columns[i]), right = std::min(left + 1, width - 1);
          const auto row = [&](Index c) { return upper[c] + static_cast<double>(weight) * (lower[c] - upper[c]); };
          const double exact = row(left) + static_cast<double>(weights[i]) * (row(right) - row(left));
          const double largest = std::max(std::max(std::abs(upper[left]), std::abs(lower[left])),
                                          std::max(std::abs(upper[right]), std::abs(lower[right])));
          ASSERT_NEAR(y[i], exact, 8 * 0x1p-24 * largest) << width << " columns, output " << i;
        }
        ASSERT_TRUE(std::isnan(y[outputs]));
      }
  });
}

TEST(ResizeRow, WithoutAWeightLooksAtOneCell) {
  for_each_isa([&] {
    const std::vector<float> upper = {1, kInf, 3, kNaN, 5, 6, 7, 8, 9}, lower(9, kNaN), weights(4, 0.0f);
    const std::vector<float> columns = {0, 1, 2, 4};
    std::vector<float> folded(9), y(4);
    kernels().resize_row({upper.data(), lower.data(), 0, 9, columns.data(), weights.data(), 4, folded.data(), y.data()});
    EXPECT_EQ(y, (std::vector<float>{1, kInf, 3, 5}));
  });
}

TEST(ResizeRow, ReadsNothingOutsideItsRow) {
  for_each_isa([&] {
    const std::vector<float> x = {1, 2, 3}, columns = {-1, kNaN, -kInf, 3, kInf, 1e30f}, weights(6, 0.5f);
    std::vector<float> folded(3), y(6);
    kernels().resize_row({x.data(), x.data(), 0, 3, columns.data(), weights.data(), 6, folded.data(), y.data()});
    EXPECT_EQ(y, (std::vector<float>{1.5f, 1.5f, 1.5f, 3, 3, 3}));
  });
}

}  // namespace
}  // namespace sparse_engine
