#include "sparse_engine/groups.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/check.hpp"
#include "base/parallel.hpp"
#include "base/tuning.hpp"
#include "base/workspace.hpp"
#include "kernels/table.hpp"
#include "sparse_engine/mask.hpp"

namespace sparse_engine {
namespace {

constexpr Index kPiece = Tuning::selection.group_weights;
static_assert(kPiece % 8 == 0);  // threads share no byte of a mask

Index lines(const Groups& g) { return (g.rows + g.height - 1) / g.height; }
Index across(const Groups& g) { return (g.cols + g.width - 1) / g.width; }

void check_size(std::size_t given, Index needed, const char* name) {
  check(static_cast<Index>(given) == needed, name, " has ", given, " entries; these groups need ", needed);
}

void set_bit(std::span<std::uint8_t> bits, Index i) { bits[i / 8] |= static_cast<std::uint8_t>(1u << i % 8); }
bool bit(std::span<const std::uint8_t> bits, Index i) { return (bits[i / 8] >> i % 8 & 1) != 0; }

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

namespace {

template <class Score>
void score(std::span<const Score> scores, const Groups& g, Norm norm, std::span<Score> group_scores) {
  check_size(group_scores.size(), group_count(g), "group_scores");
  check_size(scores.size(), g.rows * g.cols, "scores");
  parallel::parallel_for(lines(g), threads_for(g.rows * g.cols), [&](Index line, int) {
    const Index first_row = line * g.height, last_row = std::min(g.rows, first_row + g.height);
    for (Index column = 0; column < across(g); ++column) {
      const Index first = column * g.width, last = std::min(g.cols, first + g.width);
      double sum = 0;
      for (Index row = first_row; row < last_row; ++row)
        for (Index i = row * g.cols + first; i < row * g.cols + last; ++i) {
          const double value = scores[i];
          sum += norm == Norm::l1 ? std::abs(value) : value * value;
        }
      const double mean = sum / static_cast<double>((last_row - first_row) * (last - first));
      group_scores[line * across(g) + column] = static_cast<Score>(norm == Norm::l1 ? mean : std::sqrt(mean));
    }
  });
}

void check_grids(std::span<const Grid> grids, std::size_t count) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < grids.size(); ++i) {
    std::uint64_t groups = 0;
    check(!__builtin_mul_overflow(grids[i].lines, grids[i].across, &groups) && groups <= count - total, "grids[", i,
          "] = ", grids[i].lines, " × ", grids[i].across, " goes beyond the ", count, " groups");
    total += groups;
  }
  check(total == count, "grids have ", total, " groups; there are ", count);
}

// Groups of one size rank like single weights. Returns `keep`.
template <class Score>
std::uint64_t keep_equal_groups(std::span<const Score> group_scores, std::span<const Grid> grids, std::uint64_t keep,
                                std::span<std::uint8_t> group_bits) {
  LargestSelector selector(group_scores.size(), keep);
  const auto for_each_grid = [&](const auto& body) {
    std::uint64_t first = 0;
    for (const Grid& grid : grids) {
      body(grid, first, group_scores.subspan(first, grid.lines * grid.across));
      first += grid.lines * grid.across;
    }
  };
  do for_each_grid([&](const Grid& grid, std::uint64_t, auto scores) { selector.feed(scores, grid.across); });
  while (selector.next_pass());
  std::fill(group_bits.begin(), group_bits.end(), std::uint8_t{0});
  for_each_grid([&](const Grid& grid, std::uint64_t first, auto scores) {
    std::vector<std::uint8_t> own(mask_bytes(scores.size()));
    selector.mask(scores, own, grid.across);
    for (std::size_t i = 0; i < scores.size(); ++i)
      if (bit(own, static_cast<Index>(i))) set_bit(group_bits, static_cast<Index>(first + i));
  });
  return keep;
}

template <class Score>
std::uint64_t keep_groups(std::span<const Score> group_scores, std::span<const std::uint64_t> sizes,
                          std::span<const Grid> grids, std::uint64_t keep, std::span<std::uint8_t> group_bits) {
  const std::size_t count = group_scores.size();
  check(sizes.size() == count, "sizes has ", sizes.size(), " entries, group_scores ", count, "; there must be one per group");
  check(group_bits.size() == mask_bytes(count), "group_bits has ", group_bits.size(), " bytes; a mask of ", count,
        " groups takes ", mask_bytes(count));
  std::uint64_t total = 0;
  for (const std::uint64_t size : sizes)
    check(!__builtin_add_overflow(total, size, &total), "sizes add up to more than 64 bits hold");
  check(keep <= total, "keep = ", keep, " exceeds the ", total, " weights of all groups");
  for (std::size_t i = 0; i < count; ++i) check(!std::isnan(group_scores[i]), "group_scores[", i, "] is NaN");
  check_grids(grids, count);

  if (count > 0 && sizes[0] > 0 && std::all_of(sizes.begin(), sizes.end(), [&](auto size) { return size == sizes[0]; }))
    return keep_equal_groups(group_scores, grids, keep / sizes[0], group_bits) * sizes[0];
  struct Place {
    Score magnitude;
    std::uint32_t rank;
    std::uint64_t group;
  };
  std::vector<Place> order;
  order.reserve(count);
  for (std::size_t grid = 0; grid < grids.size(); ++grid)
    for (std::uint64_t i = 0; i < grids[grid].lines * grids[grid].across; ++i)
      order.push_back({.magnitude = std::abs(group_scores[order.size()]),
                       .rank = tie_rank(grid, i / grids[grid].across, i % grids[grid].across),
                       .group = order.size()});
  std::sort(order.begin(), order.end(), [](const Place& a, const Place& b) {
    if (a.magnitude != b.magnitude) return a.magnitude > b.magnitude;
    return a.rank != b.rank ? a.rank < b.rank : a.group < b.group;
  });
  std::fill(group_bits.begin(), group_bits.end(), std::uint8_t{0});
  std::uint64_t left = keep;
  for (const Place& place : order) {
    if (sizes[place.group] > left) continue;
    left -= sizes[place.group];
    set_bit(group_bits, static_cast<Index>(place.group));
  }
  return keep - left;
}

}  // namespace

void score_groups(std::span<const float> scores, const Groups& g, Norm norm, std::span<float> group_scores) {
  score(scores, g, norm, group_scores);
}

std::uint64_t keep_largest_groups(std::span<const float> group_scores, std::span<const std::uint64_t> sizes,
                                  std::span<const Grid> grids, std::uint64_t keep, std::span<std::uint8_t> group_bits) {
  return keep_groups(group_scores, sizes, grids, keep, group_bits);
}

void score_groups(std::span<const double> scores, const Groups& g, Norm norm, std::span<double> group_scores) {
  score(scores, g, norm, group_scores);
}

std::uint64_t keep_largest_groups(std::span<const double> group_scores, std::span<const std::uint64_t> sizes,
                                  std::span<const Grid> grids, std::uint64_t keep, std::span<std::uint8_t> group_bits) {
  return keep_groups(group_scores, sizes, grids, keep, group_bits);
}

}  // namespace sparse_engine
