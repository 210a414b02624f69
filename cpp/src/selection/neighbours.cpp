#include "sparse_engine/neighbours.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/check.hpp"
#include "base/parallel.hpp"
#include "base/tuning.hpp"
#include "base/workspace.hpp"
#include "kernels/table.hpp"
#include "sparse_engine/mask.hpp"

namespace sparse_engine {
namespace {

void set_bit(std::span<std::uint8_t> bits, Index i) { bits[i / 8] |= static_cast<std::uint8_t>(1u << i % 8); }

void check_size(std::size_t given, Index needed, const char* name) {
  check(static_cast<Index>(given) == needed, name, " has ", given, " entries; these groups need ", needed);
}

constexpr Index kNeighbourhoods = Tuning::selection.neighbourhoods;
static_assert(kNeighbourhoods % 8 == 0);  // no two threads write a byte

// body(group, its scores) for every `m` neighbours; NaN among the scores throws once all are done.
template <class Score, class Body>
void for_each_neighbours(std::span<const Score> scores, int m, const Body& body) {
  std::atomic<Index> nan{-1};
  const Index groups = static_cast<Index>(scores.size()) / m;
  parallel::parallel_for((groups + kNeighbourhoods - 1) / kNeighbourhoods, threads_for(groups * m), [&](Index piece, int) {
    const Index first = piece * kNeighbourhoods, last = std::min(groups, first + kNeighbourhoods);
    for (Index group = first; group < last; ++group) {
      const Score* s = scores.data() + group * m;
      for (int i = 0; i < m; ++i)
        if (std::isnan(s[i])) nan.store(group * m + i, std::memory_order_relaxed);
      body(group, s);
    }
  });
  check(nan < 0, "scores[", nan.load(), "] is NaN");
}

// When `place` has its turn among `places` that are equal: they go round, beginning with another in every row and column.
std::uint64_t turn(Index row, Index column, std::uint64_t place, std::uint64_t places) {
  const std::uint64_t first =
      tie_rank(0, static_cast<std::uint64_t>(row), static_cast<std::uint64_t>(column)) * places / kTieRanks;
  return (place + places - first) % places;
}

// The places of the n largest magnitudes of m, as bits; of equal ones those of the least `rank(place)`, or the lowest places.
template <class Score, class Rank>
std::uint64_t largest_of(const Score* s, int n, int m, const Rank& rank) {
  std::uint64_t taken = 0;
  for (int kept = 0; kept < n; ++kept) {
    int best = -1;
    for (int i = 0; i < m; ++i) {
      if ((taken >> i & 1) != 0) continue;
      if (best < 0 || std::abs(s[i]) > std::abs(s[best]) || (std::abs(s[i]) == std::abs(s[best]) && rank(i) < rank(best)))
        best = i;
    }
    taken |= std::uint64_t{1} << best;
  }
  return taken;
}

// Group `group` of m places keeps those of `pattern`; the bits were zero before.
void set_places(std::span<std::uint8_t> bits, Index group, int m, std::uint64_t pattern) {
  for (; pattern != 0; pattern &= pattern - 1) set_bit(bits, group * m + std::countr_zero(pattern));
}

void check_positions(std::size_t scores, int positions) {
  check(positions >= 1 && positions <= 64, "positions = ", positions, "; a kernel with a pattern has 1 to 64");
  check(scores % static_cast<std::size_t>(positions) == 0, "scores has ", scores, " entries, which are no kernels of ",
        positions);
}

// Patterns of n neighbouring positions, going round: the first ones share as little as can be.
std::vector<std::uint64_t> neighbouring_patterns(int positions, int n, Index count) {
  const int shared = std::gcd(positions, n);
  std::vector<std::uint64_t> patterns;
  for (int k = 0; k < (n == positions ? 1 : positions) && k < count; ++k) {
    const int first = k * n + k * shared / positions;  // one further on after each time round
    std::uint64_t pattern = 0;
    for (int i = 0; i < n; ++i) pattern |= std::uint64_t{1} << (first + i) % positions;
    patterns.push_back(pattern);
  }
  return patterns;
}

template <class Score>
void neighbours(std::span<const Score> scores, Index rows, Index cols, int n, int m, std::span<std::uint8_t> bits) {
  check(m >= 1 && m <= 64 && n >= 0 && n <= m, "n:m = ", n, ":", m, "; 0 ≤ n ≤ m and 1 ≤ m ≤ 64 are needed");
  check(rows >= 0 && cols >= 0, "shape = (", rows, ", ", cols, ") has a negative side");
  check(cols % m == 0, "a row of ", cols, " weights does not fall into groups of ", m);
  const Index size = checked_mul(rows, cols, "shape");
  check_size(scores.size(), size, "scores");
  check(bits.size() == mask_bytes(size), "bits has ", bits.size(), " bytes; a mask of ", size, " weights takes ",
        mask_bytes(size));
  std::fill(bits.begin(), bits.end(), std::uint8_t{0});
  for_each_neighbours(scores, m, [&](Index group, const Score* s) {
    set_places(bits, group, m,
               largest_of(s, n, m, [&](int place) { return turn(group / (cols / m), group % (cols / m), place, m); }));
  });
}

template <class Score>
std::vector<std::uint64_t> most_frequent(std::span<const Score> scores, int positions, int n, Index count) {
  check_positions(scores.size(), positions);
  check(n >= 1 && n <= positions, "n = ", n, " is outside [1, ", positions, "], the positions of a kernel");
  check(count >= 1, "count = ", count, "; a dictionary has at least one pattern");
  std::vector<std::uint64_t> best(scores.size() / static_cast<std::size_t>(positions));
  for_each_neighbours(scores, positions, [&](Index kernel, const Score* s) {
    const bool empty = std::all_of(s, s + positions, [](Score value) { return value == 0; });
    best[kernel] = empty ? 0 : largest_of(s, n, positions, [](int) { return 0; });
  });
  std::sort(best.begin(), best.end());
  std::vector<std::pair<Index, std::uint64_t>> found;  // minus how often, pattern: sorted, the most frequent comes first
  for (const std::uint64_t pattern : best) {
    if (pattern == 0) continue;
    if (found.empty() || found.back().second != pattern) found.emplace_back(0, pattern);
    --found.back().first;
  }
  if (found.empty()) return neighbouring_patterns(positions, n, count);
  std::sort(found.begin(), found.end());
  std::vector<std::uint64_t> dictionary;
  for (const auto& [often, pattern] : found)
    if (static_cast<Index>(dictionary.size()) < count) dictionary.push_back(pattern);
  return dictionary;
}

template <class Score>
void best_patterns(std::span<const Score> scores, int positions, std::span<const std::uint64_t> dictionary, Norm norm,
                   std::span<std::uint8_t> bits) {
  check_positions(scores.size(), positions);
  check(!dictionary.empty(), "dictionary is empty; it needs at least one pattern");
  for (std::size_t i = 0; i < dictionary.size(); ++i)
    check(positions == 64 || dictionary[i] >> positions == 0, "dictionary[", i, "] = ", dictionary[i],
          " has places beyond the ", positions, " of a kernel");
  check(bits.size() == mask_bytes(scores.size()), "bits has ", bits.size(), " bytes; a mask of ", scores.size(),
        " weights takes ", mask_bytes(scores.size()));
  std::fill(bits.begin(), bits.end(), std::uint8_t{0});
  for_each_neighbours(scores, positions, [&](Index kernel, const Score* s) {
    std::size_t best = 0;
    double most = -1;
    for (std::size_t i = 0; i < dictionary.size(); ++i) {
      double sum = 0;
      for (std::uint64_t left = dictionary[i]; left != 0; left &= left - 1) {
        const double value = s[std::countr_zero(left)];
        sum += norm == Norm::l1 ? std::abs(value) : value * value;
      }
      const auto turn_of = [&](std::size_t pattern) { return turn(kernel, 0, pattern, dictionary.size()); };
      if (sum > most || (sum == most && turn_of(i) < turn_of(best))) best = i, most = sum;
    }
    set_places(bits, kernel, positions, dictionary[best]);
  });
}

}  // namespace

void keep_n_of_m(std::span<const float> scores, Index rows, Index cols, int n, int m, std::span<std::uint8_t> bits) {
  neighbours(scores, rows, cols, n, m, bits);
}

std::vector<std::uint64_t> frequent_patterns(std::span<const float> scores, int positions, int n, Index count) {
  return most_frequent(scores, positions, n, count);
}

void keep_patterns(std::span<const float> scores, int positions, std::span<const std::uint64_t> dictionary, Norm norm,
                   std::span<std::uint8_t> bits) {
  best_patterns(scores, positions, dictionary, norm, bits);
}

void keep_n_of_m(std::span<const double> scores, Index rows, Index cols, int n, int m, std::span<std::uint8_t> bits) {
  neighbours(scores, rows, cols, n, m, bits);
}

std::vector<std::uint64_t> frequent_patterns(std::span<const double> scores, int positions, int n, Index count) {
  return most_frequent(scores, positions, n, count);
}

void keep_patterns(std::span<const double> scores, int positions, std::span<const std::uint64_t> dictionary, Norm norm,
                   std::span<std::uint8_t> bits) {
  best_patterns(scores, positions, dictionary, norm, bits);
}

}  // namespace sparse_engine
