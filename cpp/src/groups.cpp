#include "sparse_engine/groups.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include "check.hpp"
#include "parallel.hpp"
#include "sparse_engine/mask.hpp"
#include "work.hpp"

namespace sparse_engine {
namespace {

constexpr Index kPiece = 1 << 16;  // weights of a mask one thread writes at a time; a multiple of 8

Index lines(const Groups& g) { return (g.rows + g.height - 1) / g.height; }
Index across(const Groups& g) { return (g.cols + g.width - 1) / g.width; }

void check_size(std::size_t given, Index needed, const char* name) {
  check(static_cast<Index>(given) == needed, name, " has ", given, " entries; these groups need ", needed);
}

void set_bit(std::span<std::uint8_t> bits, Index i) { bits[i / 8] |= static_cast<std::uint8_t>(1u << i % 8); }
bool bit(std::span<const std::uint8_t> bits, Index i) { return (bits[i / 8] >> i % 8 & 1) != 0; }

// Neighbours that one thread takes at a time; a multiple of 8, so that no two threads write a byte.
constexpr Index kNeighbourhoods = 4096;

// body(group, its scores) for every `m` neighbours; NaN among the scores throws once all are done.
template <class Body>
void for_each_neighbours(std::span<const float> scores, int m, const Body& body) {
  std::atomic<Index> nan{-1};
  const Index groups = static_cast<Index>(scores.size()) / m;
  parallel::parallel_for((groups + kNeighbourhoods - 1) / kNeighbourhoods, threads_for(groups * m), [&](Index piece, int) {
    const Index first = piece * kNeighbourhoods, last = std::min(groups, first + kNeighbourhoods);
    for (Index group = first; group < last; ++group) {
      const float* s = scores.data() + group * m;
      for (int i = 0; i < m; ++i)
        if (std::isnan(s[i])) nan.store(group * m + i, std::memory_order_relaxed);
      body(group, s);
    }
  });
  check(nan < 0, "scores[", nan.load(), "] is NaN");
}

// The places of the n largest magnitudes of m, as bits; ties keep the lowest.
std::uint64_t largest_of(const float* s, int n, int m) {
  std::uint64_t taken = 0;
  for (int kept = 0; kept < n; ++kept) {
    int best = -1;
    for (int i = 0; i < m; ++i)
      if ((taken >> i & 1) == 0 && (best < 0 || std::abs(s[i]) > std::abs(s[best]))) best = i;
    taken |= std::uint64_t{1} << best;
  }
  return taken;
}

// Group `group` of m places keeps those of `pattern`; the bits were zero before.
void set_places(std::span<std::uint8_t> bits, Index group, int m, std::uint64_t pattern) {
  for (; pattern != 0; pattern &= pattern - 1) set_bit(bits, group * m + std::countr_zero(pattern));
}

void check_positions(std::span<const float> scores, int positions) {
  check(positions >= 1 && positions <= 64, "positions = ", positions, "; a kernel with a pattern has 1 to 64");
  check(scores.size() % static_cast<std::size_t>(positions) == 0, "scores has ", scores.size(),
        " entries, which are no kernels of ", positions);
}

}  // namespace

Index group_count(const Groups& g) {
  check(g.rows >= 0 && g.cols >= 0, "shape = (", g.rows, ", ", g.cols, ") has a negative side");
  check(g.height >= 1 && g.width >= 1, "block = (", g.height, ", ", g.width, "); both sides must be at least 1");
  checked_mul(g.rows, g.cols, "shape");
  checked_add(g.rows, g.height, "block");
  checked_add(g.cols, g.width, "block");
  return lines(g) * across(g);
}

void group_sizes(const Groups& g, std::span<std::uint64_t> sizes) {
  check_size(sizes.size(), group_count(g), "sizes");
  for (Index line = 0; line < lines(g); ++line)
    for (Index column = 0; column < across(g); ++column)
      sizes[line * across(g) + column] = static_cast<std::uint64_t>(std::min(g.height, g.rows - line * g.height) *
                                                                    std::min(g.width, g.cols - column * g.width));
}

void score_groups(std::span<const float> scores, const Groups& g, Norm norm, std::span<float> group_scores) {
  check_size(group_scores.size(), group_count(g), "group_scores");
  check_size(scores.size(), g.rows * g.cols, "scores");
  parallel::parallel_for(lines(g), threads_for(g.rows * g.cols), [&](Index line, int) {
    const Index first_row = line * g.height, last_row = std::min(g.rows, first_row + g.height);
    for (Index column = 0; column < across(g); ++column) {
      const Index first = column * g.width, last = std::min(g.cols, first + g.width);
      double sum = 0;
      for (Index row = first_row; row < last_row; ++row)
        for (Index i = row * g.cols + first; i < row * g.cols + last; ++i) {
          const double score = scores[i];
          sum += norm == Norm::l1 ? std::abs(score) : score * score;
        }
      const double mean = sum / static_cast<double>((last_row - first_row) * (last - first));
      group_scores[line * across(g) + column] = static_cast<float>(norm == Norm::l1 ? mean : std::sqrt(mean));
    }
  });
}

std::uint64_t keep_largest_groups(std::span<const float> group_scores, std::span<const std::uint64_t> sizes, std::uint64_t keep,
                                  std::span<std::uint8_t> group_bits) {
  const std::size_t count = group_scores.size();
  check(sizes.size() == count, "sizes has ", sizes.size(), " entries, group_scores ", count, "; there must be one per group");
  check(group_bits.size() == mask_bytes(count), "group_bits has ", group_bits.size(), " bytes; a mask of ", count,
        " groups takes ", mask_bytes(count));
  std::uint64_t total = 0;
  for (const std::uint64_t size : sizes)
    check(!__builtin_add_overflow(total, size, &total), "sizes add up to more than 64 bits hold");
  check(keep <= total, "keep = ", keep, " exceeds the ", total, " weights of all groups");
  for (std::size_t i = 0; i < count; ++i) check(!std::isnan(group_scores[i]), "group_scores[", i, "] is NaN");

  if (count > 0 && sizes[0] > 0 && std::all_of(sizes.begin(), sizes.end(), [&](auto size) { return size == sizes[0]; })) {
    keep_largest(group_scores, keep / sizes[0], group_bits);
    return keep / sizes[0] * sizes[0];
  }
  std::vector<std::uint64_t> order(count);
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return std::abs(group_scores[a]) > std::abs(group_scores[b]); });
  std::fill(group_bits.begin(), group_bits.end(), std::uint8_t{0});
  std::uint64_t left = keep;
  for (const std::uint64_t group : order) {
    if (sizes[group] > left) continue;
    left -= sizes[group];
    set_bit(group_bits, static_cast<Index>(group));
  }
  return keep - left;
}

void spread_groups(std::span<const std::uint8_t> group_bits, const Groups& g, std::span<std::uint8_t> bits) {
  const Index count = group_count(g), size = g.rows * g.cols;
  check(group_bits.size() == mask_bytes(count), "group_bits has ", group_bits.size(), " bytes; a mask of ", count,
        " groups takes ", mask_bytes(count));
  check(bits.size() == mask_bytes(size), "bits has ", bits.size(), " bytes; a mask of ", size, " weights takes ",
        mask_bytes(size));
  parallel::parallel_for((size + kPiece - 1) / kPiece, threads_for(size), [&](Index piece, int) {
    const Index first = piece * kPiece, last = std::min(size, first + kPiece);
    std::fill(bits.begin() + first / 8, bits.begin() + (last + 7) / 8, std::uint8_t{0});
    for (Index i = first; i < last;) {  // the part of a block's row that lies in this piece
      const Index row = i / g.cols, column = i % g.cols / g.width;
      const Index end = std::min({last, (row + 1) * g.cols, row * g.cols + (column + 1) * g.width});
      if (bit(group_bits, row / g.height * across(g) + column))
        for (; i < end; ++i) set_bit(bits, i);
      i = end;
    }
  });
}

void keep_n_of_m(std::span<const float> scores, Index rows, Index cols, int n, int m, std::span<std::uint8_t> bits) {
  check(m >= 1 && m <= 64 && n >= 0 && n <= m, "n:m = ", n, ":", m, "; 0 ≤ n ≤ m and 1 ≤ m ≤ 64 are needed");
  check(rows >= 0 && cols >= 0, "shape = (", rows, ", ", cols, ") has a negative side");
  check(cols % m == 0, "a row of ", cols, " weights does not fall into groups of ", m);
  const Index size = checked_mul(rows, cols, "shape");
  check_size(scores.size(), size, "scores");
  check(bits.size() == mask_bytes(size), "bits has ", bits.size(), " bytes; a mask of ", size, " weights takes ",
        mask_bytes(size));
  std::fill(bits.begin(), bits.end(), std::uint8_t{0});
  for_each_neighbours(scores, m, [&](Index group, const float* s) { set_places(bits, group, m, largest_of(s, n, m)); });
}

std::vector<std::uint64_t> frequent_patterns(std::span<const float> scores, int positions, int n, Index count) {
  check_positions(scores, positions);
  check(n >= 1 && n <= positions, "n = ", n, " is outside [1, ", positions, "], the positions of a kernel");
  check(count >= 1, "count = ", count, "; a dictionary has at least one pattern");
  std::vector<std::uint64_t> best(scores.size() / static_cast<std::size_t>(positions));
  for_each_neighbours(scores, positions, [&](Index kernel, const float* s) {
    const bool empty = std::all_of(s, s + positions, [](float score) { return score == 0; });
    best[kernel] = empty ? 0 : largest_of(s, n, positions);
  });
  std::sort(best.begin(), best.end());
  std::vector<std::pair<Index, std::uint64_t>> found;  // minus how often, pattern: sorted, the most frequent comes first
  for (const std::uint64_t pattern : best) {
    if (pattern == 0) continue;
    if (found.empty() || found.back().second != pattern) found.emplace_back(0, pattern);
    --found.back().first;
  }
  if (found.empty()) found.emplace_back(0, ~std::uint64_t{0} >> (64 - n));
  std::sort(found.begin(), found.end());
  std::vector<std::uint64_t> dictionary;
  for (const auto& [often, pattern] : found)
    if (static_cast<Index>(dictionary.size()) < count) dictionary.push_back(pattern);
  return dictionary;
}

void keep_patterns(std::span<const float> scores, int positions, std::span<const std::uint64_t> dictionary, Norm norm,
                   std::span<std::uint8_t> bits) {
  check_positions(scores, positions);
  check(!dictionary.empty(), "dictionary is empty; it needs at least one pattern");
  for (std::size_t i = 0; i < dictionary.size(); ++i)
    check(positions == 64 || dictionary[i] >> positions == 0, "dictionary[", i, "] = ", dictionary[i],
          " has places beyond the ", positions, " of a kernel");
  check(bits.size() == mask_bytes(scores.size()), "bits has ", bits.size(), " bytes; a mask of ", scores.size(),
        " weights takes ", mask_bytes(scores.size()));
  std::fill(bits.begin(), bits.end(), std::uint8_t{0});
  for_each_neighbours(scores, positions, [&](Index kernel, const float* s) {
    std::uint64_t best = 0;
    double most = -1;
    for (const std::uint64_t pattern : dictionary) {
      double sum = 0;
      for (std::uint64_t left = pattern; left != 0; left &= left - 1) {
        const double score = s[std::countr_zero(left)];
        sum += norm == Norm::l1 ? std::abs(score) : score * score;
      }
      if (sum > most) best = pattern, most = sum;
    }
    set_places(bits, kernel, positions, best);
  });
}

}  // namespace sparse_engine
