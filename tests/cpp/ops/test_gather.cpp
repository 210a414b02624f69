#include "ops/gather.hpp"

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Gather, TakesRowsByTheirNumbers) {
  const std::vector<float> table = integers(9 * 70, 61);
  std::vector<float> numbers(400);
  for (Index i = 0; i < 400; ++i) numbers[i] = static_cast<float>(i * 5 % 9);
  for (const int threads : {1, 3}) {
    std::vector<float> y(400 * 70, kNaN);
    plan_gather(400, 9, 70, threads)
        ->run({.x = numbers.data(), .y = y.data(), .epilogue = {}, .second = table.data()}, nullptr);
    for (Index i = 0; i < 400; ++i)
      for (Index c = 0; c < 70; ++c) ASSERT_EQ(y[i * 70 + c], table[i * 5 % 9 * 70 + c]);
  }
}

TEST(Gather, OfWhatIsNoRowIsNaNAndReadsNothing) {
  const std::vector<float> numbers = {-1, 3, kNaN, kInf, -kInf, 1e30f, 2};
  const std::vector<float> table = integers(3 * 2, 62);
  std::vector<float> y(7 * 2);
  plan_gather(7, 3, 2, 1)->run({.x = numbers.data(), .y = y.data(), .epilogue = {}, .second = table.data()}, nullptr);
  for (Index i = 0; i < 12; ++i) EXPECT_TRUE(std::isnan(y[i])) << i;
  EXPECT_EQ(y[12], table[4]);
  EXPECT_REFUSED(plan_gather(1, (Index{1} << 24) + 1, 1, 1), "at most 2²⁴");
}

}  // namespace
}  // namespace sparse_engine
