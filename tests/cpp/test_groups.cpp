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
        std::stable_sort(order.begin(), order.end(),
                         [&](Index a, Index b) { return std::abs(scores[a]) > std::abs(scores[b]); });
        Bits expected(mask_bytes(count)), bits(mask_bytes(count), 0xff);
        std::uint64_t left = std::min(keep, total);
        for (const Index i : order)
          if (sizes[i] <= left) {
            left -= sizes[i];
            expected[i / 8] |= static_cast<std::uint8_t>(1 << i % 8);
          }
        EXPECT_EQ(keep_largest_groups(scores, sizes, std::min(keep, total), bits), std::min(keep, total) - left);
        EXPECT_EQ(bits, expected);
      }
    }
}

TEST(Groups, NOfMAreTheLargestOfTheirNeighbours) {
  for (const auto& [n, m] : {std::pair{2, 4}, {1, 4}, {4, 8}, {0, 3}, {3, 3}, {5, 16}, {1, 1}, {7, 64}})
    for (const Index rows : {0, 1, 5, 40}) {
      const Index cols = m * (rows == 40 && m == 4 ? 110 : 3), size = rows * cols;  // one beyond what a thread takes at a time
      std::vector<float> scores = reals(size, 7);
      for (Index i = 0; i + 1 < size; i += 5) scores[i] = -scores[i + 1];  // ties
      Bits bits(mask_bytes(size), 0xff);
      keep_n_of_m(scores, rows, cols, n, m, bits);
      for (Index first = 0; first < size; first += m) {
        std::vector<Index> order(m);
        std::iota(order.begin(), order.end(), first);
        std::stable_sort(order.begin(), order.end(),
                         [&](Index a, Index b) { return std::abs(scores[a]) > std::abs(scores[b]); });
        for (int i = 0; i < m; ++i) ASSERT_EQ(bit(bits, order[i]), i < n) << first << " " << i;
      }
    }
}

std::uint64_t best_pattern(const float* s, int n, int positions) {
  std::vector<int> order(positions);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return std::abs(s[a]) > std::abs(s[b]); });
  std::uint64_t pattern = 0;
  for (int i = 0; i < n; ++i) pattern |= std::uint64_t{1} << order[i];
  return pattern;
}

TEST(Groups, TheDictionaryHoldsThePatternsThatAreBestMostOften) {
  for (const auto& [positions, n] : {std::pair{9, 4}, {9, 1}, {25, 3}, {4, 4}, {64, 2}, {1, 1}})
    for (const Index kernels : {1, 30, 5000})
      for (const int threads : {1, 3}) {
        const Threads used(threads);
        std::vector<float> scores = reals(kernels * positions, 11);
        for (float& s : scores) s = std::round(s * 2);  // ties, and kernels of zeros
        std::map<std::uint64_t, Index> often;
        for (Index k = 0; k < kernels; ++k) {
          const float* s = scores.data() + k * positions;
          if (std::any_of(s, s + positions, [](float v) { return v != 0; })) ++often[best_pattern(s, n, positions)];
        }
        std::vector<std::pair<Index, std::uint64_t>> order;
        for (const auto& [pattern, count] : often) order.emplace_back(-count, pattern);
        std::sort(order.begin(), order.end());
        std::vector<std::uint64_t> expected;
        for (std::size_t i = 0; i < std::min<std::size_t>(8, order.size()); ++i) expected.push_back(order[i].second);
        if (expected.empty()) expected.push_back((std::uint64_t{1} << n) - 1);
        EXPECT_EQ(frequent_patterns(scores, positions, n, 8), expected);
      }
}

TEST(Groups, EveryKernelKeepsThePatternThatIsWorthMost) {
  const std::vector<std::uint64_t> dictionary = {0b000011011, 0b110110000, 0b010111000, 0b000011011, 0b101000101};
  for (const Norm norm : {Norm::l1, Norm::l2})
    for (const Index kernels : {0, 1, 7, 9000}) {
      std::vector<float> scores = reals(kernels * 9, 13);
      for (Index i = 0; i < kernels * 9; i += 2) scores[i] = std::round(scores[i]);
      Bits bits(mask_bytes(kernels * 9), 0xff);
      keep_patterns(scores, 9, dictionary, norm, bits);
      for (Index k = 0; k < kernels; ++k) {
        double most = -1;
        std::uint64_t best = 0;
        for (const std::uint64_t pattern : dictionary) {
          double sum = 0;
          for (int i = 0; i < 9; ++i) {
            const double s = std::abs(static_cast<double>(scores[k * 9 + i]));
            if ((pattern >> i & 1) != 0) sum += norm == Norm::l1 ? s : s * s;
          }
          if (sum > most) best = pattern, most = sum;
        }
        for (int i = 0; i < 9; ++i) ASSERT_EQ(bit(bits, k * 9 + i), (best >> i & 1) != 0) << k << " " << i;
      }
    }
}

TEST(Groups, RefusePatternsThatMakeNoSense) {
  const std::vector<float> scores(18), nan = {1, kNaN};
  const std::vector<std::uint64_t> dictionary = {3}, beyond = {1 << 9}, none;
  Bits bits(3), one(1);
  EXPECT_THROW(frequent_patterns(scores, 0, 1, 1), std::invalid_argument);
  EXPECT_THROW(frequent_patterns(scores, 65, 1, 1), std::invalid_argument);
  EXPECT_THROW(frequent_patterns(scores, 9, 0, 1), std::invalid_argument);
  EXPECT_THROW(frequent_patterns(scores, 9, 10, 1), std::invalid_argument);
  EXPECT_THROW(frequent_patterns(scores, 9, 4, 0), std::invalid_argument);
  EXPECT_THROW(frequent_patterns(scores, 7, 4, 8), std::invalid_argument);
  EXPECT_THROW(frequent_patterns(nan, 2, 1, 8), std::invalid_argument);
  EXPECT_THROW(keep_patterns(scores, 9, none, Norm::l1, bits), std::invalid_argument);
  EXPECT_THROW(keep_patterns(scores, 9, beyond, Norm::l1, bits), std::invalid_argument);
  EXPECT_THROW(keep_patterns(scores, 9, dictionary, Norm::l1, one), std::invalid_argument);
  EXPECT_THROW(keep_patterns(scores, 7, dictionary, Norm::l1, bits), std::invalid_argument);
  EXPECT_THROW(keep_patterns(nan, 2, dictionary, Norm::l1, one), std::invalid_argument);
}

TEST(Groups, RefuseWhatMakesNoSense) {
  const std::vector<float> scores(12), nan = {1, kNaN};
  const std::vector<std::uint64_t> sizes = {3, 4};
  Bits bits(2), one(1);
  std::vector<float> two(2);
  EXPECT_THROW(group_count({-1, 2, 1, 1}), std::invalid_argument);
  EXPECT_THROW(group_count({2, 2, 0, 1}), std::invalid_argument);
  EXPECT_THROW(group_count({Index{1} << 40, Index{1} << 40, 1, 1}), std::invalid_argument);
  EXPECT_THROW(group_count({4, 4, std::numeric_limits<Index>::max(), 1}), std::invalid_argument);
  EXPECT_THROW(score_groups(scores, {3, 4, 1, 2}, Norm::l1, two), std::invalid_argument);
  EXPECT_THROW(score_groups(scores, {3, 5, 3, 3}, Norm::l1, two), std::invalid_argument);
  EXPECT_THROW(keep_largest_groups(nan, sizes, 3, one), std::invalid_argument);
  EXPECT_THROW(keep_largest_groups(two, sizes, 8, one), std::invalid_argument);
  EXPECT_THROW(keep_largest_groups(two, sizes, 3, bits), std::invalid_argument);
  EXPECT_THROW(keep_largest_groups(scores, sizes, 3, bits), std::invalid_argument);
  const std::vector<std::uint64_t> huge = {~std::uint64_t{0}, 2};
  EXPECT_THROW(keep_largest_groups(two, huge, 3, one), std::invalid_argument);
  EXPECT_THROW(spread_groups(one, {3, 4, 1, 2}, one), std::invalid_argument);
  EXPECT_THROW(spread_groups(bits, {3, 4, 1, 2}, bits), std::invalid_argument);
  for (const auto& [n, m] : {std::pair{3, 2}, {-1, 4}, {1, 0}, {1, 65}, {1, 5}})
    EXPECT_THROW(keep_n_of_m(scores, 3, 4, n, m, bits), std::invalid_argument) << n << ":" << m;
  EXPECT_THROW(keep_n_of_m(nan, 1, 2, 1, 2, one), std::invalid_argument);
}

}  // namespace
}  // namespace sparse_engine
