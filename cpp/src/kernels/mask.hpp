// Exact selection of the largest magnitudes: histograms of their bits, then one pass that writes mask bits.
//
// Method   |score| as an unsigned integer orders like the magnitude itself; the sign bit is shifted out.
// Cost     one load and one counter per score and pass.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

inline uint32_t magnitude_bits(float score) {
  uint32_t bits;
  __builtin_memcpy(&bits, &score, sizeof bits);
  return bits & 0x7fffffffu;
}

constexpr uint32_t kInfinityBits = 0x7f800000u;
constexpr int kLowerBits = 15;

// False when a NaN is among the scores.
bool mask_histogram(const HistogramArgs& args) {
  uint32_t largest = 0;
  if (!args.lower) {
    for (uint64_t i = 0; i < args.count; ++i) {
      const uint32_t bits = magnitude_bits(args.scores[i]);
      largest = bits > largest ? bits : largest;
      ++args.histogram[bits >> kLowerBits];
    }
  } else {
    for (uint64_t i = 0; i < args.count; ++i) {
      const uint32_t bits = magnitude_bits(args.scores[i]);
      if ((bits >> kLowerBits) == args.upper) ++args.histogram[bits & ((1u << kLowerBits) - 1)];
    }
  }
  return largest <= kInfinityBits;
}

uint64_t mask_count_equal(const float* scores, uint64_t count, uint32_t threshold) {
  uint64_t equal = 0;
  for (uint64_t i = 0; i < count; ++i) equal += magnitude_bits(scores[i]) == threshold;
  return equal;
}

// Returns the ties it kept.
uint64_t mask_select(const SelectArgs& args) {
  uint64_t ties = 0;
  for (uint64_t i = 0; i < args.count; i += 8) {
    const uint64_t n = args.count - i < 8 ? args.count - i : 8;
    uint32_t above = 0, equal = 0;
    for (uint64_t j = 0; j < n; ++j) {
      const uint32_t bits = magnitude_bits(args.scores[i + j]);
      above |= static_cast<uint32_t>(bits > args.threshold) << j;
      equal |= static_cast<uint32_t>(bits == args.threshold) << j;
    }
    while (equal != 0 && ties < args.ties) {
      above |= equal & (~equal + 1);
      equal &= equal - 1;
      ++ties;
    }
    args.bits[i / 8] = static_cast<uint8_t>(above);
  }
  return ties;
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
