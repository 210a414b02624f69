#include "ops/write_rows.hpp"

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// Two items of three heads, five rows of seven floats; two rows written, each item's own.
const WrittenRows kShape{6, 5, 7, 2, 3, 2};

TEST(WriteRows, ReplacesThoseRowsAndCopiesTheOthers) {
  const std::vector<float> x = integers(6 * 5 * 7, 71), rows = integers(6 * 2 * 7, 72), numbers = {3, 0, 1, 4};
  for (const int threads : {1, 3}) {
    std::vector<float> y(x.size(), kNaN), own = x;
    const auto plan = plan_write_rows(kShape, threads);
    plan->run({.x = x.data(), .y = y.data(), .epilogue = {}, .second = rows.data(), .third = numbers.data()}, nullptr);
    plan->run({.x = own.data(), .y = own.data(), .epilogue = {}, .second = rows.data(), .third = numbers.data()}, nullptr);
    for (Index table = 0; table < 6; ++table)
      for (Index row = 0; row < 5; ++row)
        for (Index c = 0; c < 7; ++c) {
          float expected = x[(table * 5 + row) * 7 + c];
          for (Index i = 0; i < 2; ++i)
            if (numbers[table / 3 * 2 + i] == static_cast<float>(row)) expected = rows[(table * 2 + i) * 7 + c];
          ASSERT_EQ(y[(table * 5 + row) * 7 + c], expected);
        }
    EXPECT_EQ(own, y) << "in place";
  }
}

TEST(WriteRows, OfNumbersThatAreNoRowsWritesNothing) {
  const std::vector<float> x = integers(3 * 2, 73), rows = integers(6 * 2, 74), numbers = {-1, 3, kNaN, kInf, -kInf, 1e30f};
  std::vector<float> y(x.size());
  plan_write_rows({1, 3, 2, 6, 1, 0}, 1)
      ->run({.x = x.data(), .y = y.data(), .epilogue = {}, .second = rows.data(), .third = numbers.data()}, nullptr);
  EXPECT_EQ(y, x);
  EXPECT_REFUSED(plan_write_rows({1, (Index{1} << 24) + 1, 1, 1, 1, 0}, 1), "at most 2²⁴");
  EXPECT_REFUSED(plan_write_rows({1, 1, 1, 1, 0, 0}, 1), "at least 1");
}

}  // namespace
}  // namespace sparse_engine
