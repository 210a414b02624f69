#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "kernels/select/tie_order.hpp"
#include "reference.hpp"
#include "sparse_engine/groups.hpp"
#include "sparse_engine/mask.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

using Bits = std::vector<std::uint8_t>;

bool bit(const Bits& bits, Index i) { return (bits[i / 8] >> i % 8 & 1) != 0; }

const std::vector<Groups> kGroups = {{0, 0, 1, 1},  {5, 0, 2, 2},   {1, 1, 1, 1},    {1, 1, 4, 4},     {8, 8, 4, 1},
                                     {9, 7, 4, 1},  {9, 7, 1, 7},   {9, 7, 9, 1},    {9, 7, 9, 7},     {9, 7, 2, 3},
                                     {3, 18, 1, 9}, {16, 27, 1, 3}, {70, 999, 4, 4}, {300, 601, 8, 1}, {512, 512, 1, 512}};

Index group_of(const Groups& g, Index i) {
  const Index across = (g.cols + g.width - 1) / g.width;
  return i / g.cols / g.height * across + i % g.cols / g.width;
}

TEST(Groups, CoverEveryWeightOnce) {
  for (const Groups& g : kGroups) {
    std::vector<std::uint64_t> sizes(group_count(g)), expected(group_count(g));
    group_sizes(g, sizes);
    for (Index i = 0; i < g.rows * g.cols; ++i) ++expected[group_of(g, i)];
    EXPECT_EQ(sizes, expected);
  }
}

TEST(Groups, AreWorthTheMeanOfTheirScores) {
  for (const Groups& g : kGroups)
    for (const Norm norm : {Norm::l1, Norm::l2}) {
      const std::vector<float> scores = reals(g.rows * g.cols, 3);
      std::vector<float> got(group_count(g), kNaN);
      score_groups(scores, g, norm, got);
      std::vector<double> sums(got.size()), counts(got.size());
      for (Index i = 0; i < g.rows * g.cols; ++i) {
        const double s = std::abs(static_cast<double>(scores[i]));
        sums[group_of(g, i)] += norm == Norm::l1 ? s : s * s;
        ++counts[group_of(g, i)];
      }
      for (std::size_t group = 0; group < got.size(); ++group) {
        const double mean = sums[group] / counts[group];
        EXPECT_FLOAT_EQ(got[group], norm == Norm::l1 ? mean : std::sqrt(mean));
      }
    }
}

TEST(Groups, SpreadToTheirWeightsAndToNoOthers) {
  for (const Groups& g : kGroups)
    for (const int threads : {1, 3}) {
      const Threads used(threads);
      const Index count = group_count(g), size = g.rows * g.cols;
      Bits groups(mask_bytes(count)), bits(mask_bytes(size), 0xff);
      for (Index i = 0; i < count; i += 1 + i % 3) groups[i / 8] |= static_cast<std::uint8_t>(1 << i % 8);
      spread_groups(groups, g, bits);
      for (Index i = 0; i < size; ++i) ASSERT_EQ(bit(bits, i), bit(groups, group_of(g, i))) << i;
      for (Index i = size; i < static_cast<Index>(bits.size()) * 8; ++i) EXPECT_FALSE(bit(bits, i));
    }
}

TEST(Groups, TheLargestStayWhileTheyFit) {
  for (const bool equal : {true, false})
    for (const Index count : {0, 1, 7, 8, 9, 100}) {
      std::vector<float> scores = reals(count, 5);
      if (count > 8) scores[3] = scores[7] = -scores[5];  // ties
      std::vector<std::uint64_t> sizes(count, 6);
      if (!equal)
        for (Index i = 0; i < count; ++i) sizes[i] = 1 + i % 5 * 3;
      const auto total = std::accumulate(sizes.begin(), sizes.end(), std::uint64_t{0});
      for (const std::uint64_t keep : {std::uint64_t{0}, total / 3, total / 2 + 1, total}) {
        std::vector<Index> order(count);
        std::iota(order.begin(), order.end(), Index{0});
        // Two grids: the groups of a weight with three in a line, and of one with two.
        const Index first = count / 2 / 3 * 3, second = (count - first) / 2 * 2;
        const std::vector<Grid> grids = {{static_cast<std::uint64_t>(first / 3), 3},
                                         {static_cast<std::uint64_t>(second / 2), 2},
                                         {static_cast<std::uint64_t>(count - first - second), 1}};
        const auto rank = [&](Index i) {
          if (i < first) return tie_rank(0, i / 3, i % 3);
          return i < first + second ? tie_rank(1, (i - first) / 2, (i - first) % 2) : tie_rank(2, i - first - second, 0);
        };
        std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) {
          if (std::abs(scores[a]) != std::abs(scores[b])) return std::abs(scores[a]) > std::abs(scores[b]);
          return rank(a) < rank(b);
        });
        Bits expected(mask_bytes(count)), bits(mask_bytes(count), 0xff);
        std::uint64_t left = std::min(keep, total);
        for (const Index i : order)
          if (sizes[i] <= left) {
            left -= sizes[i];
            expected[i / 8] |= static_cast<std::uint8_t>(1 << i % 8);
          }
        EXPECT_EQ(keep_largest_groups(scores, sizes, grids, std::min(keep, total), bits), std::min(keep, total) - left);
        EXPECT_EQ(bits, expected);
      }
    }
}

TEST(Groups, RefuseWhatMakesNoSense) {
  const std::vector<float> scores(12), nan = {1, kNaN};
  const std::vector<std::uint64_t> sizes = {3, 4};
  const std::vector<Grid> grids = {{1, 2}}, fewer = {{1, 1}}, more = {{1, 1}, {2, 1}}, endless = {{~std::uint64_t{0}, 2}};
  Bits bits(2), one(1);
  std::vector<float> two(2);
  EXPECT_THROW(group_count({-1, 2, 1, 1}), std::invalid_argument);
  EXPECT_THROW(group_count({2, 2, 0, 1}), std::invalid_argument);
  EXPECT_THROW(group_count({Index{1} << 40, Index{1} << 40, 1, 1}), std::invalid_argument);
  EXPECT_THROW(group_count({4, 4, std::numeric_limits<Index>::max(), 1}), std::invalid_argument);
  EXPECT_THROW(score_groups(scores, {3, 4, 1, 2}, Norm::l1, two), std::invalid_argument);
  EXPECT_THROW(score_groups(scores, {3, 5, 3, 3}, Norm::l1, two), std::invalid_argument);
  EXPECT_THROW(keep_largest_groups(nan, sizes, grids, 3, one), std::invalid_argument);
  EXPECT_THROW(keep_largest_groups(two, sizes, grids, 8, one), std::invalid_argument);
  EXPECT_THROW(keep_largest_groups(two, sizes, grids, 3, bits), std::invalid_argument);
  EXPECT_THROW(keep_largest_groups(scores, sizes, grids, 3, bits), std::invalid_argument);
  for (const auto& wrong : {fewer, more, endless})
    EXPECT_THROW(keep_largest_groups(two, sizes, wrong, 3, one), std::invalid_argument);
  const std::vector<std::uint64_t> huge = {~std::uint64_t{0}, 2};
  EXPECT_THROW(keep_largest_groups(two, huge, grids, 3, one), std::invalid_argument);
  EXPECT_THROW(spread_groups(one, {3, 4, 1, 2}, one), std::invalid_argument);
  EXPECT_THROW(spread_groups(bits, {3, 4, 1, 2}, bits), std::invalid_argument);
}

}  // namespace
}  // namespace sparse_engine
