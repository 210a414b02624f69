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

// Keeps whole groups, the largest magnitudes first and ties from the lowest index on; one that no longer fits into `keep`
// weights is passed over. Returns the number of weights kept, at most `keep` and less than it by less than the smallest group
// left out.
// Throws std::invalid_argument: NaN among the scores, sizes that do not match, keep beyond their sum.
std::uint64_t keep_largest_groups(std::span<const float> group_scores, std::span<const std::uint64_t> sizes, std::uint64_t keep,
                                  std::span<std::uint8_t> group_bits);

// The mask of the weights whose groups stay.
void spread_groups(std::span<const std::uint8_t> group_bits, const Groups& g, std::span<std::uint8_t> bits);

// Keeps the n largest magnitudes of every m neighbours in a row; ties keep the lowest index.
// Throws std::invalid_argument: not 0 ≤ n ≤ m ≤ 64, cols not a multiple of m, NaN among the scores.
// Source: Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021.
void keep_n_of_m(std::span<const float> scores, Index rows, Index cols, int n, int m, std::span<std::uint8_t> bits);

// A pattern is a set of positions of a convolution kernel, position i as bit i. The n largest magnitudes of a kernel are its
// best pattern; the `count` that are best for most kernels make the dictionary, most frequent first, ties in the order of the
// numbers. Ties within a kernel keep the lowest position; kernels of zeros have no say. The dictionary is smaller where fewer
// patterns are best for any kernel, and never empty.
// Throws std::invalid_argument: not 1 ≤ positions ≤ 64, not 1 ≤ n ≤ positions, count < 1, sizes that do not match, NaN.
// Source: Tan et al., "PCNN", DAC 2020; Niu et al., "PatDNN", ASPLOS 2020.
std::vector<std::uint64_t> frequent_patterns(std::span<const float> scores, int positions, int n, Index count);

// Every kernel keeps the pattern of `dictionary` with the largest sum of magnitudes (l1) or squares (l2); ties keep the first.
// Throws std::invalid_argument: an empty dictionary, a pattern beyond the positions, sizes that do not match, NaN.
void keep_patterns(std::span<const float> scores, int positions, std::span<const std::uint64_t> dictionary, Norm norm,
                   std::span<std::uint8_t> bits);

}  // namespace sparse_engine
