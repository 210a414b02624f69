// Weights that stay or go together. A weight is seen as a matrix, row-major; a group is a block of it, and blocks at the right
// and at the lower edge are cut off. Masks are bits as in mask.hpp.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sparse_engine/types.hpp"

namespace sparse_engine {

// Group g is the block in line g / groups_across, column g % groups_across of blocks.
struct Groups {
  Index rows, cols;     // of the weight
  Index height, width;  // of a block, at least 1
};

// Throws std::invalid_argument: negative sides, blocks of nothing, or a product that overflows.
Index group_count(const Groups& g);

// Weights in each group.
void group_sizes(const Groups& g, std::span<std::uint64_t> sizes);

// What a group is worth: the mean of its magnitudes (l1), or the root of the mean of their squares (l2), so that groups of any
// size compare. Sums are in double precision. NaN among the scores makes the group's NaN.
enum class Norm : std::uint8_t { l1, l2 };
void score_groups(std::span<const float> scores, const Groups& g, Norm norm, std::span<float> group_scores);
void score_groups(std::span<const double> scores, const Groups& g, Norm norm, std::span<double> group_scores);

// So many lines of so many groups, whose scores follow one another.
struct Grid {
  std::uint64_t lines, across;
};

// Keeps whole groups, the largest magnitudes first; one that no longer fits into `keep` weights is passed over. Among equal
// ones the order is that of LargestSelector, with `grids` (of the weights ranked together, in order) for arrays: it spreads
// over lines, columns and grids. Returns the number of weights kept, at most `keep` and less than it by less than the smallest
// group left out.
// Throws std::invalid_argument: NaN among the scores, sizes or grids that do not match, keep beyond the sum of sizes.
std::uint64_t keep_largest_groups(std::span<const float> group_scores, std::span<const std::uint64_t> sizes,
                                  std::span<const Grid> grids, std::uint64_t keep, std::span<std::uint8_t> group_bits);
std::uint64_t keep_largest_groups(std::span<const double> group_scores, std::span<const std::uint64_t> sizes,
                                  std::span<const Grid> grids, std::uint64_t keep, std::span<std::uint8_t> group_bits);

// The mask of the weights whose groups stay.
void spread_groups(std::span<const std::uint8_t> group_bits, const Groups& g, std::span<std::uint8_t> bits);

}  // namespace sparse_engine
