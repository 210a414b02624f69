// Exact selection of the largest magnitudes: histograms of their bits, then one pass that writes mask bits.
//
// Method   |score| as an unsigned integer orders like the magnitude itself; the sign bit is shifted out.
// Cost     one load and one counter per score and pass.
#pragma once

#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

inline uint32_t magnitude_bits(float score) {
  uint32_t bits;
  __builtin_memcpy(&bits, &score, sizeof bits);
  return bits & 0x7fffffffu;
}

inline uint64_t magnitude_bits(double score) {
  uint64_t bits;
  __builtin_memcpy(&bits, &score, sizeof bits);
  return bits & 0x7fffffffffffffffu;
}

// False when a NaN is among the scores; looked at where nothing is known yet.
template <class Score>
bool mask_histogram(const HistogramArgs<Score>& args) {
  using Bits = decltype(magnitude_bits(Score{}));
  constexpr Bits kInfinity = sizeof(Score) == 4 ? static_cast<Bits>(0x7f800000u) : static_cast<Bits>(0x7ff0000000000000u);
  constexpr int kFirstShift = sizeof(Score) * 8 - 1 - kRadixBits;
  Bits largest = 0;
  if (args.shift == kFirstShift) {
    for (uint64_t i = 0; i < args.count; ++i) {
      const Bits bits = magnitude_bits(args.scores[i]);
      largest = bits > largest ? bits : largest;
      ++args.histogram[bits >> kFirstShift];
    }
  } else {
    const Bits prefix = static_cast<Bits>(args.prefix);
    const Bits digits = (Bits{1} << (args.known - args.shift)) - 1;
    for (uint64_t i = 0; i < args.count; ++i) {
      const Bits bits = magnitude_bits(args.scores[i]);
      if ((bits >> args.known) == prefix) ++args.histogram[bits >> args.shift & digits];
    }
  }
  return largest <= kInfinity;
}

template <class Score>
uint32_t rank_of(const TieArgs<Score>& args, uint64_t i) {
  return tie_rank(args.array, (args.first + i) / args.cols, (args.first + i) % args.cols);
}

template <class Score>
void mask_count_ranks(const TieArgs<Score>& args, uint64_t* histogram) {
  const auto threshold = static_cast<decltype(magnitude_bits(Score{}))>(args.threshold);
  for (uint64_t i = 0; i < args.count; ++i)
    if (magnitude_bits(args.scores[i]) == threshold) ++histogram[rank_of(args, i)];
}

template <class Score>
uint64_t mask_count_at_rank(const TieArgs<Score>& args) {
  const auto threshold = static_cast<decltype(magnitude_bits(Score{}))>(args.threshold);
  uint64_t equal = 0;
  for (uint64_t i = 0; i < args.count; ++i)
    if (magnitude_bits(args.scores[i]) == threshold) equal += rank_of(args, i) == args.rank;
  return equal;
}

// Returns the ties it kept at the last rank that keeps any.
template <class Score>
uint64_t mask_select(const SelectArgs<Score>& args) {
  const TieArgs<Score>& ties = args.ties;
  const auto threshold = static_cast<decltype(magnitude_bits(Score{}))>(ties.threshold);
  uint64_t kept = 0;
  for (uint64_t i = 0; i < ties.count; i += 8) {
    const uint64_t n = ties.count - i < 8 ? ties.count - i : 8;
    uint32_t above = 0, equal = 0;
    for (uint64_t j = 0; j < n; ++j) {
      const auto bits = magnitude_bits(ties.scores[i + j]);
      above |= static_cast<uint32_t>(bits > threshold) << j;
      equal |= static_cast<uint32_t>(bits == threshold) << j;
    }
    if (args.all_ties) {
      above |= equal;
    } else {
      for (; equal != 0; equal &= equal - 1) {
        const uint32_t rank = rank_of(ties, i + static_cast<uint64_t>(__builtin_ctz(equal)));
        if (rank < ties.rank || (rank == ties.rank && kept < args.at_rank)) above |= equal & (~equal + 1);
        kept += rank == ties.rank && kept < args.at_rank;
      }
    }
    args.bits[i / 8] = static_cast<uint8_t>(above);
  }
  return kept;
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
