#include "sparse_engine/mask.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "check.hpp"
#include "parallel.hpp"
#include "registry.hpp"
#include "work.hpp"

namespace sparse_engine {
namespace {

constexpr std::uint64_t kPiece = 1u << 20;  // scores a task handles; a multiple of 8, so that tasks share no byte of a mask
constexpr std::size_t kBuckets = 1u << 16;
constexpr int kLowerBits = 15;

std::uint64_t pieces_of(std::uint64_t count) { return (count + kPiece - 1) / kPiece; }
std::uint64_t piece_size(std::uint64_t count, std::uint64_t piece) { return std::min(kPiece, count - piece * kPiece); }

[[noreturn]] void refuse_nan(std::span<const float> scores) {
  const auto first = std::find_if(scores.begin(), scores.end(), [](float s) { return std::isnan(s); });
  check(false, "scores[", first - scores.begin(), "] is NaN; a magnitude must be a number (repair or reload the weights)");
  std::abort();
}

void check_bits(std::size_t given, std::uint64_t count) {
  check(given == mask_bytes(count), "a mask over ", count, " weights takes ", mask_bytes(count), " bytes, not ", given);
}

}  // namespace

std::uint64_t mask_bytes(std::uint64_t count) { return count / 8 + (count % 8 != 0); }

LargestSelector::LargestSelector(std::uint64_t total, std::uint64_t keep) : total_(total), keep_(keep), histogram_(kBuckets) {
  check(keep <= total, "keep = ", keep, " is more than the ", total, " scores there are");
}

void LargestSelector::feed(std::span<const float> scores) {
  check(pass_ < 2, "the threshold is known: ask for masks now");
  fed_ += scores.size();
  check(fed_ <= total_, "more scores fed than the announced ", total_);
  const int threads = threads_for(static_cast<std::int64_t>(scores.size()));
  const std::uint64_t pieces = pieces_of(scores.size());
  std::vector<std::vector<std::uint64_t>> counts(std::min<std::uint64_t>(threads, pieces));
  for (auto& histogram : counts) histogram.resize(kBuckets);
  std::atomic<bool> numbers{true};
  parallel::parallel_for(static_cast<std::int64_t>(pieces), threads, [&](std::int64_t piece, int worker) {
    if (!kernels().mask_histogram({.scores = scores.data() + piece * kPiece,
                                   .count = piece_size(scores.size(), piece),
                                   .lower = pass_ == 1,
                                   .upper = threshold_ >> kLowerBits,
                                   .histogram = counts[worker].data()}))
      numbers.store(false, std::memory_order_relaxed);
  });
  if (!numbers) refuse_nan(scores);
  for (const auto& histogram : counts)
    for (std::size_t i = 0; i < kBuckets; ++i) histogram_[i] += histogram[i];
}

bool LargestSelector::next_pass() {
  check(fed_ == total_, "pass ", pass_ + 1, " was fed ", fed_, " scores of ", total_);
  check(pass_ < 2, "both passes are done");
  // Walk down from the largest magnitude to the bucket in which the keep-th lies.
  std::size_t bucket = kBuckets;
  std::uint64_t above = above_;
  while (bucket > 0) {
    --bucket;
    if (above + histogram_[bucket] >= keep_) break;
    above += histogram_[bucket];
  }
  above_ = above;
  if (pass_ == 0) {
    threshold_ = static_cast<std::uint32_t>(bucket) << kLowerBits;
  } else {
    threshold_ |= static_cast<std::uint32_t>(bucket);
    ties_ = histogram_[bucket];
    ties_kept_ = keep_ - above_;
  }
  std::fill(histogram_.begin(), histogram_.end(), 0);
  fed_ = 0;
  return ++pass_ < 2;
}

void LargestSelector::mask(std::span<const float> scores, std::span<std::uint8_t> bits) {
  check(pass_ == 2, "masks come after both passes");
  check_bits(bits.size(), scores.size());
  fed_ += scores.size();
  check(fed_ <= total_, "more scores given for masks than the announced ", total_);
  if (keep_ == 0) {  // every bucket is the last one looked at, none is kept
    std::fill(bits.begin(), bits.end(), std::uint8_t{0});
    return;
  }
  const int threads = threads_for(static_cast<std::int64_t>(scores.size()));
  const std::uint64_t pieces = pieces_of(scores.size());
  const Kernels& table = kernels();
  // Where only some ties stay, the pieces before this one decide how many it may keep.
  std::vector<std::uint64_t> ties(pieces, ties_kept_);
  if (ties_kept_ < ties_) {
    parallel::parallel_for(static_cast<std::int64_t>(pieces), threads, [&](std::int64_t piece, int) {
      ties[piece] = table.mask_count_equal(scores.data() + piece * kPiece, piece_size(scores.size(), piece), threshold_);
    });
    std::uint64_t left = ties_kept_ - ties_used_;
    for (std::uint64_t& share : ties) {
      share = std::min(share, left);
      left -= share;
    }
  }
  std::atomic<std::uint64_t> used{0};
  parallel::parallel_for(static_cast<std::int64_t>(pieces), threads, [&](std::int64_t piece, int) {
    used += table.mask_select({.scores = scores.data() + piece * kPiece,
                               .count = piece_size(scores.size(), piece),
                               .threshold = threshold_,
                               .ties = ties[piece],
                               .bits = bits.data() + piece * kPiece / 8});
  });
  ties_used_ += used;
}

void keep_largest(std::span<const float> scores, std::uint64_t keep, std::span<std::uint8_t> bits) {
  check_bits(bits.size(), scores.size());
  LargestSelector selector(scores.size(), keep);
  do selector.feed(scores);
  while (selector.next_pass());
  selector.mask(scores, bits);
}

bool apply_mask(std::span<const std::uint8_t> bits, void* data, std::uint64_t count, int item_bytes) {
  check_bits(bits.size(), count);
  const Kernels& table = kernels();
  const auto apply = item_bytes == 1   ? table.mask_apply8
                     : item_bytes == 2 ? table.mask_apply16
                     : item_bytes == 4 ? table.mask_apply32
                                       : table.mask_apply64;
  check(item_bytes == 1 || item_bytes == 2 || item_bytes == 4 || item_bytes == 8, "elements of ", item_bytes,
        " bytes; 1, 2, 4 and 8 are supported");
  std::atomic<bool> changed{false};
  parallel::parallel_for(static_cast<std::int64_t>(pieces_of(count)), threads_for(static_cast<std::int64_t>(count)),
                         [&](std::int64_t piece, int) {
                           const std::uint64_t first = piece * kPiece;
                           if (apply({.bits = bits.data() + first / 8,
                                      .items = static_cast<unsigned char*>(data) + first * item_bytes,
                                      .count = piece_size(count, piece)}))
                             changed.store(true, std::memory_order_relaxed);
                         });
  return changed;
}

std::uint64_t count_kept(std::span<const std::uint8_t> bits, std::uint64_t count) {
  check_bits(bits.size(), count);
  std::uint64_t kept = 0;
  for (std::uint64_t byte = 0; byte < count / 8; ++byte) kept += std::popcount(bits[byte]);
  if (count % 8 != 0) kept += std::popcount(static_cast<std::uint8_t>(bits[count / 8] & ((1u << count % 8) - 1)));
  return kept;
}

}  // namespace sparse_engine
