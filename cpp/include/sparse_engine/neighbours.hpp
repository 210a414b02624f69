// Weights chosen among their neighbours: n of m in a row, or a pattern of a convolution kernel. Masks are bits as in mask.hpp.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sparse_engine/groups.hpp"
#include "sparse_engine/types.hpp"

namespace sparse_engine {

// Keeps the n largest magnitudes of every m neighbours in a row; equal ones in an order that differs from row to row and from
// group to group, so that no column is left without weights.
// Throws std::invalid_argument: not 0 ≤ n ≤ m ≤ 64, cols not a multiple of m, NaN among the scores.
// Source: Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021.
void keep_n_of_m(std::span<const float> scores, Index rows, Index cols, int n, int m, std::span<std::uint8_t> bits);
void keep_n_of_m(std::span<const double> scores, Index rows, Index cols, int n, int m, std::span<std::uint8_t> bits);

// A pattern is a set of positions of a convolution kernel, position i as bit i. The n largest magnitudes of a kernel are its
// best pattern; the `count` that are best for most kernels make the dictionary, most frequent first, ties in the order of the
// numbers. Ties within a kernel keep the lowest position; kernels of zeros have no say. The dictionary is smaller where fewer
// patterns are best for any kernel, and never empty: of zeros alone it has neighbouring positions, each pattern others.
// Throws std::invalid_argument: not 1 ≤ positions ≤ 64, not 1 ≤ n ≤ positions, count < 1, sizes that do not match, NaN.
// Source: Tan et al., "PCNN", DAC 2020; Niu et al., "PatDNN", ASPLOS 2020.
std::vector<std::uint64_t> frequent_patterns(std::span<const float> scores, int positions, int n, Index count);
std::vector<std::uint64_t> frequent_patterns(std::span<const double> scores, int positions, int n, Index count);

// Every kernel keeps the pattern of `dictionary` with the largest sum of magnitudes (l1) or squares (l2); which of equal ones
// differs from kernel to kernel.
// Throws std::invalid_argument: an empty dictionary, a pattern beyond the positions, sizes that do not match, NaN.
void keep_patterns(std::span<const float> scores, int positions, std::span<const std::uint64_t> dictionary, Norm norm,
                   std::span<std::uint8_t> bits);
void keep_patterns(std::span<const double> scores, int positions, std::span<const std::uint64_t> dictionary, Norm norm,
                   std::span<std::uint8_t> bits);

}  // namespace sparse_engine
