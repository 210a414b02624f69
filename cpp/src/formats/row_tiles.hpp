// The layout that wide products of single weights read, whatever the format they come from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "base/aligned_array.hpp"
#include "base/check.hpp"
#include "base/tuning.hpp"
#include "formats/matrix_impl.hpp"
#include "kernels/table.hpp"

namespace sparse_engine {

inline constexpr Index kMaxTileRows = 256;  // places fit a byte

// First rows of tiles, and the end of the last: enough tiles to share a small matrix between threads, few enough that a block
// of X is used many times.
inline std::vector<Index> tile_starts(Index rows, Index group_rows) {
  const Index quarter = (rows + 3) / 4;
  const Index tile_rows = std::clamp<Index>((quarter + 7) / 8 * 8, 32, std::min(tuning().tile_rows, kMaxTileRows));
  std::vector<Index> starts;
  for (Index group = 0; group < rows; group += group_rows) {
    const Index group_end = std::min(rows, group + group_rows);
    for (Index row = group; row < group_end; row += tile_rows) starts.push_back(row);
  }
  starts.push_back(rows);
  return starts;
}

// Tile by tile of rows, in it block by block of columns, in it strip by strip of `height` rows, the longest first; the order
// the kernels read.
template <int height>
class StripTiles final : public Tiles {
 public:
  // Strip s holds columns[starts[s]] … columns[starts[s + 1] - 1], ascending, and `height` values, one a row, for each.
  template <class Columns, class Values>
  StripTiles(const TileShape& shape, Index rows, Index cols, const std::vector<Index>& starts, const Columns& columns,
             const Values& values)
      : shape_(shape), tile_starts_(tile_starts(rows, shape.group_rows)) {
    const Index taps = static_cast<Index>(shape.taps.size());
    const Index block_columns = shape.block_channels * taps;
    blocks_ = std::max<Index>(1, (cols + block_columns - 1) / block_columns);  // no columns at all: the result is the bias
    block_starts_.reserve(count() * blocks_);
    strip_starts_.reserve((rows / height + count()) * blocks_);
    order_.reserve(rows / height * blocks_ + kStripsAhead);
    entries_.reserve(starts.back());
    std::vector<Index> begin(starts.begin(), starts.end()), end = begin;  // of each strip, what lies in the block
    for (Index tile = 0; tile < count(); ++tile) {
      const Index first_strip = row_begin(tile) / height, strips = row_end(tile) / height - first_strip;
      for (Index block = 0; block < blocks_; ++block) {
        const Index first = block * shape_.block_channels;
        const Index last = (first + shape_.block_channels) * taps;
        for (Index strip = first_strip; strip < first_strip + strips; ++strip) {
          begin[strip] = end[strip];
          while (end[strip] < starts[strip + 1] && static_cast<Index>(columns[end[strip]]) < last) ++end[strip];
        }
        const auto length = [&](Index place) { return end[first_strip + place] - begin[first_strip + place]; };
        const Index base = static_cast<Index>(entries_.size());
        block_starts_.push_back(base);
        for (const Index place : by_length(strips, length)) {
          order_.push_back(static_cast<std::uint8_t>(place));
          strip_starts_.push_back(static_cast<std::uint32_t>(entries_.size() - base));
          const Index strip = first_strip + place;
          for (Index i = begin[strip]; i < end[strip]; ++i) {
            const Index channel = columns[i] / taps, tap = columns[i] % taps;
            TileEntry<height>& entry = entries_.emplace_back();
            entry.offset = static_cast<std::uint32_t>((channel - first) * shape_.channel_step + shape_.taps[tap]);
            for (int r = 0; r < height; ++r) entry.values[r] = values[i * height + r];
          }
        }
        strip_starts_.push_back(static_cast<std::uint32_t>(entries_.size() - base));
      }
    }
    order_.resize(order_.size() + kStripsAhead);
  }

  // Every offset tells its channel and its tap where no two taps of a block lie at the same place.
  std::shared_ptr<const Tiles> moved(const TileShape& shape) const override {
    if (shape.group_rows != shape_.group_rows || shape.block_channels != shape_.block_channels ||
        shape.taps.size() != shape_.taps.size())
      return nullptr;
    const std::int32_t last_tap = *std::max_element(shape_.taps.begin(), shape_.taps.end());
    if (last_tap >= shape_.channel_step) return nullptr;
    std::vector<std::uint32_t> taps(static_cast<std::size_t>(last_tap) + 1, kNoTap);  // where the tap goes that was here
    for (std::size_t tap = 0; tap < shape.taps.size(); ++tap) {
      std::uint32_t& target = taps[shape_.taps[tap]];
      if (target != kNoTap) return nullptr;
      target = static_cast<std::uint32_t>(shape.taps[tap]);
    }
    return std::shared_ptr<const Tiles>(new StripTiles(*this, shape, taps));
  }

  Index count() const override { return static_cast<Index>(tile_starts_.size()) - 1; }
  Index row_begin(Index tile) const override { return tile_starts_[tile]; }
  Index row_end(Index tile) const override { return tile_starts_[tile + 1]; }
  Index bytes() const override {
    return bytes_of(tile_starts_) + bytes_of(block_starts_) + bytes_of(strip_starts_) + bytes_of(order_) + bytes_of(entries_);
  }
  const TileShape& shape() const override { return shape_; }

  void multiply(const TileJob& job) const override {
    const Kernels& table = *job.kernels;
    const Index strips = (row_end(job.tile) - row_begin(job.tile)) / height;
    SpmmArgs<height> args{};
    args.strips = static_cast<std::uint32_t>(strips);
    args.width = static_cast<std::uint32_t>(job.width);
    const Index strips_before = row_begin(job.tile) / height * blocks_;
    for (Index block = 0; block < blocks_; ++block) {
      const bool first = block == 0, last = block == blocks_ - 1;
      args.order = order_.data() + strips_before + block * strips;
      // strip_starts_ holds one more than strips for every (tile, block) before this one.
      args.strip_starts = strip_starts_.data() + strips_before + job.tile * blocks_ + block * (strips + 1);
      args.entries = entries_.data() + block_starts_[job.tile * blocks_ + block];
      args.x = job.x + block * shape_.block_channels * shape_.channel_step;
      args.bias = first && job.bias ? job.bias + row_begin(job.tile) : nullptr;
      args.sums = first ? job.initial : job.partial;
      args.sums_row_stride = first ? job.initial_row_stride : kTileColumns;
      args.y = last ? job.y : job.partial;
      args.y_row_stride = last ? job.y_row_stride : kTileColumns;
      args.fetch_y = last && job.fetch_y;
      args.stream_y = last && job.stream_y;
      args.places = last ? job.places : nullptr;
      args.activation = last ? job.activation : Activation();
      run(table, args);
    }
  }

 private:
  // Strips of about the same length follow one another, so that the processor foresees where their loops end; not where they
  // are so short that coming and going of sums, which follow one another in memory, decides.
  template <class Length>
  static std::vector<Index> by_length(Index strips, const Length& length) {
    std::vector<Index> order(strips);
    std::iota(order.begin(), order.end(), Index{0});
    if (height > 1 || strips < tuning().sorted_strips) return order;
    const Index all =
        std::accumulate(order.begin(), order.end(), Index{0}, [&](Index sum, Index i) { return sum + length(i); });
    if (all < tuning().sorted_weights * strips) return order;
    std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return length(a) > length(b); });
    return order;
  }

  static void run(const Kernels& table, const SpmmArgs<height>& args) {
    if constexpr (height == 1) {
      table.spmm(args);
    } else if constexpr (height == 2) {
      table.spmm_strips2(args);
    } else {
      table.spmm_strips4(args);
    }
  }

  static constexpr std::uint32_t kNoTap = ~std::uint32_t{0};

  StripTiles(const StripTiles& other, const TileShape& shape, const std::vector<std::uint32_t>& taps)
      : shape_(shape),
        blocks_(other.blocks_),
        tile_starts_(other.tile_starts_),
        block_starts_(other.block_starts_),
        strip_starts_(other.strip_starts_),
        order_(other.order_) {
    const auto before = static_cast<std::uint32_t>(other.shape_.channel_step);
    const auto step = static_cast<std::uint32_t>(shape.channel_step);
    entries_.reserve(other.entries_.size());
    for (TileEntry<height> entry : other.entries_) {
      const std::uint32_t channel = entry.offset / before;
      entry.offset = channel * step + taps[entry.offset - channel * before];
      entries_.push_back(entry);
    }
  }

  TileShape shape_;
  Index blocks_;
  std::vector<Index> tile_starts_;
  std::vector<Index> block_starts_;          // per (tile, block): its first entry
  std::vector<std::uint32_t> strip_starts_;  // per (tile, block): strips + 1, relative to the block's start
  std::vector<std::uint8_t> order_;          // per (tile, block): which strip of the tile comes when; kStripsAhead more
  std::vector<TileEntry<height>> entries_;
};

// Rows that share nothing.
using RowTiles = StripTiles<1>;

}  // namespace sparse_engine
