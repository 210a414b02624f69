// Which of equal scores stay: shares of rows, of columns and of arrays are met, alike on every instruction set.
#include "kernels/select/tie_order.hpp"

#include <algorithm>
#include <cmath>

#include "base/registry.hpp"
#include "kernels/table.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// The largest difference between how many of the first `count` ranks are below a threshold, and the share that should be.
template <class Rank>
double worst(std::uint64_t count, const Rank& rank) {
  std::vector<double> shares;
  for (std::uint64_t i = 0; i < count; ++i) shares.push_back(rank(i) / static_cast<double>(kTieRanks));
  std::sort(shares.begin(), shares.end());
  double difference = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    difference = std::max(difference, std::abs(static_cast<double>(count) * shares[i] - static_cast<double>(i)));
    difference = std::max(difference, std::abs(static_cast<double>(count) * shares[i] - static_cast<double>(i + 1)));
  }
  return difference;
}

// The worst of these is 3.5, of 1,107 arrays; it grows with the logarithm of their number.
TEST(TieOrder, MeetsAnyShareOfARowAColumnOrAPileOfArraysToWithinFourPlaces) {
  constexpr double kPlaces = 4;
  for (const std::uint64_t from : {0, 1, 77, 123456})
    for (std::uint64_t count = 1; count <= 1200; count += count < 70 ? 1 : 61) {
      EXPECT_LE(worst(count, [&](std::uint64_t i) { return tie_rank(3, 5, from + i); }), kPlaces)
          << count << " places of a row";
      EXPECT_LE(worst(count, [&](std::uint64_t i) { return tie_rank(3, from + i, 5); }), kPlaces)
          << count << " places of a column";
      EXPECT_LE(worst(count, [&](std::uint64_t i) { return tie_rank(from + i, 5, 3); }), kPlaces) << count << " arrays";
    }
}

// The golden ratio, √2 and √3, in 64 bits after the point.
TEST(TieOrder, IsTheFractionalPartOfMultiplesOfThreeIrrationalNumbers) {
  Random random(111);
  for (int i = 0; i < 10'000; ++i) {
    const auto array = static_cast<std::uint64_t>(random.between(0, 500)),
               row = static_cast<std::uint64_t>(random.between(0, 5000)),
               column = static_cast<std::uint64_t>(random.between(0, 5000));
    const double sum = static_cast<double>(array) * std::sqrt(3.0) + static_cast<double>(row) * std::sqrt(2.0) +
                       static_cast<double>(column) * (std::sqrt(5.0) - 1) / 2;
    const double share = (sum - std::floor(sum)) * kTieRanks, rank = tie_rank(array, row, column);
    const double apart = std::abs(rank - std::floor(share));
    ASSERT_LE(std::min(apart, kTieRanks - apart), 1) << array << ", " << row << ", " << column;
    ASSERT_LT(rank, kTieRanks);
  }
}

TEST(TieOrder, IsTheSameInEveryInstructionSetAlsoForPlacesBeyond32Bits) {
  Random random(112);
  const float one = 1;
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t array = random.bits(), first = random.bits() >> 1, cols = random.bits() >> random.between(1, 62) | 1;
    for_each_isa([&] {
      std::vector<std::uint64_t> ranks(kTieRanks);
      kernels().mask_count_ranks(TieArgs<float>{&one, 1, array, first, cols, 0x3f800000, 0}, ranks.data());
      ASSERT_EQ(ranks[tie_rank(array, first / cols, first % cols)], 1u);
    });
  }
}

}  // namespace
}  // namespace sparse_engine
