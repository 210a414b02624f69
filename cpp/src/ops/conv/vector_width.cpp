#include "ops/conv/vector_width.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include "base/aligned_array.hpp"
#include "base/registry.hpp"
#include "ops/spmm/blocks.hpp"

namespace sparse_engine {
namespace {

constexpr double kMargin = 0.97;  // of the time: a draw goes to the wider

// A tile of a 3×3 convolution with a sixth of its weights, on planes that stay in the L1 cache.
class Sample {
 public:
  Sample() {
    strip_starts_.push_back(0);
    std::uint32_t state = 1;
    for (std::uint32_t row = 0; row < kRows; ++row) {
      order_.push_back(static_cast<std::uint8_t>(row));
      for (std::uint32_t channel = 0; channel < kChannels; ++channel)
        for (std::uint32_t tap = 0; tap < 9; ++tap) {
          state = state * 1664525 + 1013904223;
          if (state >> 24 >= 43) continue;
          entries_.push_back({.offset = channel * kPlane + tap / 3 * kPitch + tap % 3, .values = {0.5f}});
        }
      strip_starts_.push_back(static_cast<std::uint32_t>(entries_.size()));
    }
    order_.resize(kRows + kStripsAhead);
    x_.resize(std::size_t{kChannels} * kPlane + std::size_t{4} * kPitch);
    y_.resize(std::size_t{kRows} * kMostTileColumns);
  }

  // For a column.
  double seconds(const Kernels& table) {
    SpmmArgs<1> args{};
    args.strip_starts = strip_starts_.data();
    args.order = order_.data();
    args.entries = entries_.data();
    args.x = x_.data();
    args.y = y_.data();
    args.y_row_stride = args.sums_row_stride = kMostTileColumns;
    args.strips = kRows;
    args.width = static_cast<std::uint32_t>(widest_tile(table));
    const auto begin = std::chrono::steady_clock::now();
    for (int run = 0; run < kRuns; ++run) table.spmm(args);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / args.width;
  }

 private:
  static constexpr std::uint32_t kRows = 32, kChannels = 16, kPitch = 58, kPlane = 208;
  static constexpr int kRuns = 4;

  std::vector<std::uint32_t> strip_starts_;
  std::vector<std::uint8_t> order_;
  std::vector<TileEntry<1>> entries_;
  Array<float> x_, y_;
};

bool is_faster(const Kernels& narrower, const Kernels& table) {
  Sample sample;
  double narrow = std::numeric_limits<double>::infinity(), wide = narrow;
  for (int round = 0; round < 20; ++round) {
    wide = std::min(wide, sample.seconds(table));
    narrow = std::min(narrow, sample.seconds(narrower));
  }
  return narrow < kMargin * wide;
}

}  // namespace

const Kernels* kernels_for_planes(const Kernels& table) {
  const Kernels* const narrower = narrower_kernels(table);
  if (narrower == nullptr) return &table;
  static const bool faster = is_faster(*narrower, table);  // of the one pair that a processor has
  return faster ? narrower : &table;
}

}  // namespace sparse_engine
