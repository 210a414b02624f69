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
// for the masks in that order. Scores are all float or all double. Among equal magnitudes those stay that come first in a fixed
// order, which spreads them evenly over arrays, rows and columns (kernels/tie_order.hpp): neither threads nor instruction set
// change the result, and of fewer kept no other ones stay. Counts are 64 bits wide.
//
// `cols` is the length of an array's rows; 0 means that it is one row.
//
// Method   Radix select on the bits of |score|, 16 a pass: two passes for float, four for double. One more where only some of
//          the magnitudes at the cut stay.
// Memory   One histogram of 65536 counters per thread, whatever the number of scores.
// Throws   std::invalid_argument: NaN among the scores, keep > total, or arrays that do not add up to `total`.
class LargestSelector {
 public:
  LargestSelector(std::uint64_t total, std::uint64_t keep);
  void feed(std::span<const float> scores, std::uint64_t cols = 0) { feed_typed(scores, cols); }
  void feed(std::span<const double> scores, std::uint64_t cols = 0) { feed_typed(scores, cols); }
  bool next_pass();  // false once it is known what stays
  void mask(std::span<const float> scores, std::span<std::uint8_t> bits, std::uint64_t cols = 0) {
    mask_typed(scores, bits, cols);
  }
  void mask(std::span<const double> scores, std::span<std::uint8_t> bits, std::uint64_t cols = 0) {
    mask_typed(scores, bits, cols);
  }

  // After the last pass: the magnitude (as bits of a float or a double) at the cut, and how many equal to it are kept.
  std::uint64_t threshold_bits() const { return threshold_; }
  std::uint64_t ties_kept() const { return ties_kept_; }

 private:
  enum class Pass : std::uint8_t { magnitudes, ranks, done };

  template <class Score>
  void feed_typed(std::span<const Score> scores, std::uint64_t cols);
  template <class Score>
  void mask_typed(std::span<const Score> scores, std::span<std::uint8_t> bits, std::uint64_t cols);
  void start_array(std::uint64_t scores, int score_bits);
  void start_pass(Pass pass);

  std::uint64_t total_, keep_;
  std::uint64_t arrays_ = 0, fed_ = 0;
  int score_bits_ = 0;  // 32 or 64, known from the first array on
  int passes_ = 0;      // done
  Pass pass_ = Pass::magnitudes;
  int known_ = 0;            // the lowest bit of the threshold that is known
  std::uint64_t above_ = 0;  // scores known to lie above the current bucket
  std::uint64_t threshold_ = 0;
  std::uint64_t ties_ = 0, ties_kept_ = 0;
  std::uint32_t rank_ = 0;                             // the last that keeps ties
  std::uint64_t at_rank_kept_ = 0, at_rank_used_ = 0;  // of that rank
  std::vector<std::uint64_t> histogram_;
};

// One array at once: mask of the `keep` largest magnitudes.
void keep_largest(std::span<const float> scores, std::uint64_t keep, std::span<std::uint8_t> bits, std::uint64_t cols = 0);

// Writes zero over every element whose bit is 0. `item_bytes` is 1, 2, 4 or 8. Returns whether anything
// but zero bytes stood there.
bool apply_mask(std::span<const std::uint8_t> bits, void* data, std::uint64_t count, int item_bytes);

// Number of ones among the first `count` bits.
std::uint64_t count_kept(std::span<const std::uint8_t> bits, std::uint64_t count);

}  // namespace sparse_engine
