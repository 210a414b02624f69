// Which weights stay. Masks are bits: weight i is bit i % 8 of byte i / 8; 1 keeps.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sparse_engine {

// Bytes of a mask over `count` weights.
std::uint64_t mask_bytes(std::uint64_t count);

// Selects exactly `keep` of `total` scores with the largest magnitude, over any number of arrays and without holding them
// together: feed every array once per pass, in the same order, calling next_pass() in between while it returns true; then ask
// for the masks in that order. Among equal magnitudes the first fed are kept, so neither threads nor instruction set change the
// result. Counts are 64 bits wide.
//
// Method   Radix select on the bits of |score|: pass one on the upper 16 of 31 bits, pass two on the lower 15.
// Memory   One histogram of 65536 counters per thread, whatever the number of scores.
// Throws   std::invalid_argument: NaN among the scores, keep > total, or arrays that do not add up to `total`.
class LargestSelector {
 public:
  LargestSelector(std::uint64_t total, std::uint64_t keep);
  void feed(std::span<const float> scores);
  bool next_pass();  // false once the threshold is known
  void mask(std::span<const float> scores, std::span<std::uint8_t> bits);

  // After the last pass: the magnitude (as bits of a float) at the cut, and how many equal to it are kept.
  std::uint32_t threshold_bits() const { return threshold_; }
  std::uint64_t ties_kept() const { return ties_kept_; }

 private:
  std::uint64_t total_, keep_;
  std::uint64_t fed_ = 0;
  std::uint64_t above_ = 0;  // scores known to lie above the current bucket
  std::uint32_t threshold_ = 0;
  std::uint64_t ties_ = 0, ties_kept_ = 0, ties_used_ = 0;
  int pass_ = 0;
  std::vector<std::uint64_t> histogram_;
};

// One array at once: mask of the `keep` largest magnitudes; ties keep the lowest index.
void keep_largest(std::span<const float> scores, std::uint64_t keep, std::span<std::uint8_t> bits);

// Writes zero over every element whose bit is 0. `item_bytes` is 1, 2, 4 or 8. Returns whether anything
// but zero bytes stood there.
bool apply_mask(std::span<const std::uint8_t> bits, void* data, std::uint64_t count, int item_bytes);

// Number of ones among the first `count` bits.
std::uint64_t count_kept(std::span<const std::uint8_t> bits, std::uint64_t count);

}  // namespace sparse_engine
