// Which of equal scores stay: a fixed order of places that spreads any number of its first ones evenly over the rows, the
// columns and the arrays they lie in.
//
// Method   Along a row ranks are the fractional parts of multiples of the golden ratio, along a column those of √2, from array
//          to array those of √3: numbers that fractions approximate badly, so that any share of a row or a column is met to
//          within a few places (less than four of a thousand, growing with the logarithm of the size). Whole numbers only:
//          every instruction set ranks alike.
// Source   Niederreiter, "Random Number Generation and Quasi-Monte Carlo Methods", SIAM 1992, chapter 3.
#pragma once

#include <cstdint>

namespace sparse_engine {

inline constexpr int kTieRanks = 1 << 16;

namespace {

// Below kTieRanks; the smallest ranks stay.
[[maybe_unused]] inline std::uint32_t tie_rank(std::uint64_t array, std::uint64_t row, std::uint64_t column) {
  constexpr std::uint64_t kGolden = 0x9e3779b97f4a7c15, kRootOfTwo = 0x6a09e667f3bcc909, kRootOfThree = 0xbb67ae8584caa73b;
  return static_cast<std::uint32_t>((array * kRootOfThree + row * kRootOfTwo + column * kGolden) >> 48);
}

}  // namespace

}  // namespace sparse_engine
