#include "sparse_engine/mask.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/check.hpp"
#include "base/parallel.hpp"
#include "base/registry.hpp"
#include "base/tuning.hpp"
#include "base/workspace.hpp"
#include "kernels/table.hpp"

namespace sparse_engine {
namespace {

constexpr auto kPiece = static_cast<std::uint64_t>(Tuning::selection.scores);
static_assert(kPiece % 8 == 0);  // tasks share no byte of a mask
constexpr std::size_t kBuckets = std::size_t{1} << kRadixBits;
static_assert(kTieRanks == kBuckets);

std::uint64_t pieces_of(std::uint64_t count) { return (count + kPiece - 1) / kPiece; }
std::uint64_t piece_size(std::uint64_t count, std::uint64_t piece) { return std::min(kPiece, count - piece * kPiece); }

template <class Score>
[[noreturn]] void refuse_nan(std::span<const Score> scores) {
  const auto first = std::find_if(scores.begin(), scores.end(), [](Score s) { return std::isnan(s); });
  check(false, "scores[", first - scores.begin(), "] is NaN; a magnitude must be a number (repair or reload the weights)");
  std::abort();
}

void check_bits(std::size_t given, std::uint64_t count) {
  check(given == mask_bytes(count), "a mask over ", count, " weights takes ", mask_bytes(count), " bytes, not ", given);
}

int next_shift(int known) { return std::max(0, known - kRadixBits); }

}  // namespace

namespace selection {

// The kernels' work on one array, piece by piece.
template <class Score>
class Work {
 public:
  Work(std::span<const Score> scores, std::uint64_t array, std::uint64_t cols, std::uint64_t threshold, std::uint32_t rank = 0)
      : scores_(scores),
        all_{.scores = nullptr,
             .count = 0,
             .array = array,
             .first = 0,
             .cols = cols == 0 ? scores.size() : cols,
             .threshold = threshold,
             .rank = rank} {}

  // False where a NaN was seen.
  bool histogram(std::uint64_t piece, int known, std::uint64_t* histogram) const {
    const TieArgs<Score> part = of(piece);
    const HistogramArgs<Score> args{.scores = part.scores,
                                    .count = part.count,
                                    .known = known,
                                    .shift = next_shift(known),
                                    .prefix = part.threshold >> known,
                                    .histogram = histogram};
    return table_.mask_histogram(args);
  }

  void count_ranks(std::uint64_t piece, std::uint64_t* histogram) const { table_.mask_count_ranks(of(piece), histogram); }

  std::uint64_t count_at_rank(std::uint64_t piece) const { return table_.mask_count_at_rank(of(piece)); }

  std::uint64_t select(std::uint64_t piece, bool all_ties, std::uint64_t at_rank, std::uint8_t* bits) const {
    const SelectArgs<Score> args{.ties = of(piece), .all_ties = all_ties, .at_rank = at_rank, .bits = bits};
    return table_.mask_select(args);
  }

 private:
  TieArgs<Score> of(std::uint64_t piece) const {
    TieArgs<Score> part = all_;
    part.first = piece * kPiece;
    part.scores = scores_.data() + part.first;
    part.count = piece_size(scores_.size(), piece);
    return part;
  }

  const Kernels& table_ = kernels();
  std::span<const Score> scores_;
  TieArgs<Score> all_;
};

}  // namespace selection

std::uint64_t mask_bytes(std::uint64_t count) { return count / 8 + (count % 8 != 0); }

LargestSelector::LargestSelector(std::uint64_t total, std::uint64_t keep) : total_(total), keep_(keep), histogram_(kBuckets) {
  check(keep <= total, "keep = ", keep, " is more than the ", total, " scores there are");
}

void LargestSelector::start_pass(Pass pass) {
  pass_ = pass;
  fed_ = arrays_ = 0;
  std::fill(histogram_.begin(), histogram_.end(), 0);
}

void LargestSelector::start_array(std::uint64_t scores, int score_bits) {
  if (score_bits_ == 0) {
    score_bits_ = score_bits;
    known_ = score_bits - 1;  // without the sign
  }
  check(score_bits_ == score_bits, "scores of ", score_bits, " bits among those of ", score_bits_,
        "; rank all of them as float or all as double");
  fed_ += scores;
  check(fed_ <= total_, "more scores than the announced ", total_);
}

template <class Score>
void LargestSelector::feed_typed(std::span<const Score> scores, std::uint64_t cols) {
  check(pass_ != Pass::done, "the threshold is known: ask for masks now");
  start_array(scores.size(), sizeof(Score) * 8);
  const int threads = threads_for(static_cast<std::int64_t>(scores.size()));
  const std::uint64_t pieces = pieces_of(scores.size()), array = arrays_++;
  std::vector<std::vector<std::uint64_t>> counts(std::min<std::uint64_t>(threads, pieces));
  for (auto& histogram : counts) histogram.resize(kBuckets);
  const selection::Work<Score> work(scores, array, cols, threshold_);
  std::atomic<bool> numbers{true};
  parallel::parallel_for(static_cast<std::int64_t>(pieces), threads, [&](std::int64_t piece, int worker) {
    std::uint64_t* histogram = counts[worker].data();
    if (pass_ == Pass::ranks)
      work.count_ranks(piece, histogram);
    else if (!work.histogram(piece, known_, histogram))
      numbers.store(false, std::memory_order_relaxed);
  });
  if (!numbers) refuse_nan(scores);
  for (const auto& histogram : counts)
    for (std::size_t i = 0; i < kBuckets; ++i) histogram_[i] += histogram[i];
}

bool LargestSelector::next_pass() {
  check(fed_ == total_, "pass ", passes_ + 1, " was fed ", fed_, " scores of ", total_);
  check(pass_ != Pass::done, "all passes are done");
  ++passes_;
  if (pass_ == Pass::ranks) {
    std::uint64_t below = 0;
    while (below + histogram_[rank_] < ties_kept_) below += histogram_[rank_++];
    at_rank_kept_ = ties_kept_ - below;
    start_pass(Pass::done);
    return false;
  }
  // Walk down from the largest magnitude to the bucket in which the keep-th lies.
  std::size_t bucket = kBuckets;
  while (bucket > 0) {
    --bucket;
    if (above_ + histogram_[bucket] >= keep_) break;
    above_ += histogram_[bucket];
  }
  known_ = next_shift(known_);
  threshold_ |= static_cast<std::uint64_t>(bucket) << known_;
  ties_ = histogram_[bucket];
  ties_kept_ = keep_ - above_;
  const bool some_ties = known_ == 0 && 0 < ties_kept_ && ties_kept_ < ties_;
  start_pass(known_ > 0 ? Pass::magnitudes : some_ties ? Pass::ranks : Pass::done);
  return pass_ != Pass::done;
}

template <class Score>
void LargestSelector::mask_typed(std::span<const Score> scores, std::span<std::uint8_t> bits, std::uint64_t cols) {
  check(pass_ == Pass::done, "masks come after all passes");
  check_bits(bits.size(), scores.size());
  start_array(scores.size(), sizeof(Score) * 8);
  const std::uint64_t array = arrays_++;
  if (keep_ == 0) {  // every bucket is the last one looked at, none is kept
    std::fill(bits.begin(), bits.end(), std::uint8_t{0});
    return;
  }
  const int threads = threads_for(static_cast<std::int64_t>(scores.size()));
  const std::uint64_t pieces = pieces_of(scores.size());
  const selection::Work<Score> work(scores, array, cols, threshold_, rank_);
  const bool all_ties = ties_kept_ == ties_;
  // Of the last rank that keeps ties, the pieces before this one decide how many it may keep.
  std::vector<std::uint64_t> at_rank(pieces);
  if (!all_ties) {
    parallel::parallel_for(static_cast<std::int64_t>(pieces), threads,
                           [&](std::int64_t piece, int) { at_rank[piece] = work.count_at_rank(piece); });
    std::uint64_t left = at_rank_kept_ - at_rank_used_;
    for (std::uint64_t& share : at_rank) {
      share = std::min(share, left);
      left -= share;
    }
  }
  std::atomic<std::uint64_t> used{0};
  parallel::parallel_for(static_cast<std::int64_t>(pieces), threads, [&](std::int64_t piece, int) {
    used += work.select(piece, all_ties, at_rank[piece], bits.data() + piece * kPiece / 8);
  });
  at_rank_used_ += used;
}

template void LargestSelector::feed_typed(std::span<const float>, std::uint64_t);
template void LargestSelector::feed_typed(std::span<const double>, std::uint64_t);
template void LargestSelector::mask_typed(std::span<const float>, std::span<std::uint8_t>, std::uint64_t);
template void LargestSelector::mask_typed(std::span<const double>, std::span<std::uint8_t>, std::uint64_t);

void keep_largest(std::span<const float> scores, std::uint64_t keep, std::span<std::uint8_t> bits, std::uint64_t cols) {
  check_bits(bits.size(), scores.size());
  LargestSelector selector(scores.size(), keep);
  do selector.feed(scores, cols);
  while (selector.next_pass());
  selector.mask(scores, bits, cols);
}

bool apply_mask(std::span<const std::uint8_t> bits, void* data, std::uint64_t count, int item_bytes) {
  check_bits(bits.size(), count);
  const Kernels& table = kernels();
  std::atomic<bool> changed{false};
  const auto apply = [&]<class Item>() {
    parallel::parallel_for(
        static_cast<std::int64_t>(pieces_of(count)), threads_for(static_cast<std::int64_t>(count)),
        [&](std::int64_t piece, int) {
          const std::uint64_t first = piece * kPiece;
          if (table.mask_apply(ApplyArgs<Item>{.bits = bits.data() + first / 8,
                                               .items = static_cast<unsigned char*>(data) + first * sizeof(Item),
                                               .count = piece_size(count, piece)}))
            changed.store(true, std::memory_order_relaxed);
        });
  };
  bool known = false;
  for_each_type(MaskedTypes{}, [&]<class Item>() {
    if (item_bytes != sizeof(Item)) return;
    known = true;
    apply.template operator()<Item>();
  });
  check(known, "elements of ", item_bytes, " bytes; 1, 2, 4 and 8 are supported");
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
