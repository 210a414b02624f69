// n of m, and patterns of convolution kernels.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "reference.hpp"
#include "sparse_engine/mask.hpp"
#include "sparse_engine/neighbours.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

using Bits = std::vector<std::uint8_t>;

bool bit(const Bits& bits, Index i) { return (bits[i / 8] >> i % 8 & 1) != 0; }

TEST(Neighbours, NOfMAreTheLargestOfTheirNeighbours) {
  for (const auto& [n, m] : {std::pair{2, 4}, {1, 4}, {4, 8}, {0, 3}, {3, 3}, {5, 16}, {1, 1}, {7, 64}})
    for (const Index rows : {0, 1, 5, 40}) {
      const Index cols = m * (rows == 40 && m == 4 ? 110 : 3), size = rows * cols;  // one beyond what a thread takes at a time
      std::vector<float> scores = reals(size, 7);
      Bits bits(mask_bytes(size), 0xff);
      keep_n_of_m(scores, rows, cols, n, m, bits);
      for (Index first = 0; first < size; first += m) {
        std::vector<Index> order(m);
        std::iota(order.begin(), order.end(), first);
        std::stable_sort(order.begin(), order.end(),
                         [&](Index a, Index b) { return std::abs(scores[a]) > std::abs(scores[b]); });
        for (int i = 0; i < m; ++i) ASSERT_EQ(bit(bits, order[i]), i < n) << first << " " << i;
      }
      std::vector<double> doubles(scores.begin(), scores.end());
      Bits same(bits.size());
      keep_n_of_m(doubles, rows, cols, n, m, same);
      EXPECT_EQ(same, bits);
    }
}

TEST(Neighbours, EqualOnesStaySpreadOverColumns) {
  for (const auto& [n, m] : {std::pair{2, 4}, {1, 4}, {4, 8}, {1, 16}, {3, 5}}) {
    const Index rows = 200, cols = 6 * m;
    std::vector<float> scores(rows * cols);
    for (Index i = 0; i < rows * cols; i += m) scores[i + i / m % m] = n == 1 ? 0.0f : -1.0f;  // one of a group, or none
    Bits bits(mask_bytes(rows * cols));
    keep_n_of_m(scores, rows, cols, n, m, bits);
    std::vector<int> in_column(cols);
    for (Index first = 0; first < rows * cols; first += m) {
      int kept = 0;
      for (Index i = first; i < first + m; ++i) kept += bit(bits, i), in_column[i % cols] += bit(bits, i);
      ASSERT_EQ(kept, n);
      ASSERT_TRUE(n == 1 || bit(bits, first + first / m % m)) << "the largest stays";
    }
    for (const int count : in_column) EXPECT_NEAR(count, rows * n / m, rows * n / m * 0.35) << n << ":" << m;
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

TEST(Neighbours, TheDictionaryHoldsThePatternsThatAreBestMostOften) {
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
        if (expected.empty()) continue;
        EXPECT_EQ(frequent_patterns(scores, positions, n, 8), expected);
      }
}

TEST(Neighbours, EveryKernelKeepsThePatternThatIsWorthMost) {
  const std::vector<std::uint64_t> dictionary = {0b000011011, 0b110110000, 0b010111000, 0b000011011, 0b101000101};
  for (const Norm norm : {Norm::l1, Norm::l2})
    for (const Index kernels : {0, 1, 7, 9000}) {
      std::vector<float> scores = reals(kernels * 9, 13);
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

TEST(Neighbours, KernelsOfZerosKeepAllPositionsInTurn) {
  for (const auto& [positions, n, count] : {std::tuple{9, 4, 8}, {9, 3, 4}, {4, 2, 2}, {25, 1, 30}, {64, 4, 16}, {3, 3, 8}}) {
    const Index kernels = 400;
    const std::vector<float> scores(kernels * positions);
    const std::vector<std::uint64_t> dictionary = frequent_patterns(scores, positions, n, count);
    EXPECT_EQ(dictionary.size(), n == positions ? 1u : static_cast<std::size_t>(std::min(count, positions)));
    EXPECT_EQ(std::set(dictionary.begin(), dictionary.end()).size(), dictionary.size());
    Bits bits(mask_bytes(scores.size()));
    keep_patterns(scores, positions, dictionary, Norm::l2, bits);
    EXPECT_EQ(count_kept(bits, scores.size()), static_cast<std::uint64_t>(kernels * n));
    std::vector<int> at(positions);
    for (Index i = 0; i < kernels * positions; ++i) at[i % positions] += bit(bits, i);
    for (const int often : at) EXPECT_GT(often, 0) << positions << " " << n;
  }
}

TEST(Neighbours, RefusePatternsThatMakeNoSense) {
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

TEST(Neighbours, RefuseGroupsThatMakeNoSense) {
  const std::vector<float> scores(12), nan = {1, kNaN};
  Bits bits(2), one(1);
  for (const auto& [n, m] : {std::pair{3, 2}, {-1, 4}, {1, 0}, {1, 65}, {1, 5}})
    EXPECT_THROW(keep_n_of_m(scores, 3, 4, n, m, bits), std::invalid_argument) << n << ":" << m;
  EXPECT_THROW(keep_n_of_m(nan, 1, 2, 1, 2, one), std::invalid_argument);
}

}  // namespace
}  // namespace sparse_engine
