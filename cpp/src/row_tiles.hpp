// The layout that wide products of single weights read, whatever the format they come from; and the keeping of layouts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <mutex>
#include <vector>

#include "check.hpp"
#include "kernels/table.hpp"
#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

inline constexpr Index kMaxTileRows = 256;  // 256 × 64 floats of output stay in the L2 cache

template <class T, class Allocator>
inline Index bytes_of(const std::vector<T, Allocator>& v) {
  return static_cast<Index>(v.capacity() * sizeof(T));
}

// First rows of tiles, and the end of the last: enough tiles to share a small matrix between threads, few enough that a block
// of X is used many times.
inline std::vector<Index> tile_starts(Index rows, Index group_rows) {
  const Index quarter = (rows + 3) / 4;
  const Index tile_rows = std::clamp<Index>((quarter + 7) / 8 * 8, 32, kMaxTileRows);
  std::vector<Index> starts;
  for (Index group = 0; group < rows; group += group_rows) {
    const Index group_end = std::min(rows, group + group_rows);
    for (Index row = group; row < group_end; row += tile_rows) starts.push_back(row);
  }
  starts.push_back(rows);
  return starts;
}

// A layout of `Layout` per shape asked for; the last few are kept.
template <class Layout>
class Layouts {
 public:
  // `make()` lays the matrix out anew.
  template <class Make>
  std::shared_ptr<const Tiles> get(const TileShape& shape, const Make& make) {
    check(shape.block_channels >= 1 && shape.group_rows >= 1 && shape.channel_step >= 0 && !shape.taps.empty(), "tile shape ",
          shape.block_channels, " channels × ", shape.group_rows, " rows, ", shape.channel_step, " apart, ", shape.taps.size(),
          " taps is out of range");
    const auto [first_tap, last_tap] = std::minmax_element(shape.taps.begin(), shape.taps.end());
    const Index reach = checked_add(checked_mul(shape.block_channels, shape.channel_step, "block"), *last_tap, "block");
    check(*first_tap >= 0 && reach <= std::numeric_limits<std::uint32_t>::max(), "a block reaches over ", reach,
          " elements of X, from ", *first_tap, "; it must lie within 0 and 2³²");
    checked_mul(shape.block_channels, static_cast<Index>(shape.taps.size()), "block");
    std::lock_guard lock(mutex_);
    for (const auto& layout : kept_)
      if (layout->shape() == shape) return layout;
    std::shared_ptr<const Layout> layout = make();
    if (kept_.size() == kKept) kept_.erase(kept_.begin());
    kept_.push_back(layout);
    return layout;
  }

  Index bytes() {
    std::lock_guard lock(mutex_);
    Index total = 0;
    for (const auto& layout : kept_) total += layout->bytes();
    return total;
  }

 private:
  static constexpr std::size_t kKept = 8;  // a convolution has one per size of image
  std::mutex mutex_;
  std::vector<std::shared_ptr<const Layout>> kept_;  // guarded by mutex_
};

// Tile by tile of rows, in it block by block of columns, in it row by row; the order the kernel reads.
class RowTiles final : public Tiles {
 public:
  // Row r holds columns[starts[r]] … columns[starts[r + 1] - 1], ascending, and as many values.
  template <class Columns, class Values>
  RowTiles(const TileShape& shape, Index rows, Index cols, const std::vector<Index>& starts, const Columns& columns,
           const Values& values)
      : shape_(shape), rows_(rows), tile_starts_(tile_starts(rows, shape.group_rows)) {
    const Index taps = static_cast<Index>(shape.taps.size());
    const Index block_columns = shape.block_channels * taps;
    blocks_ = (cols + block_columns - 1) / block_columns;
    block_starts_.reserve(count() * blocks_);
    row_starts_.reserve((rows_ + count()) * blocks_);
    entries_.reserve(starts.back());
    std::vector<Index> cursor(starts.begin(), starts.end());
    for (Index tile = 0; tile < count(); ++tile) {
      for (Index block = 0; block < blocks_; ++block) {
        const Index base = static_cast<Index>(entries_.size());
        const Index first = block * shape_.block_channels;
        const Index last = (first + shape_.block_channels) * taps;
        block_starts_.push_back(base);
        for (Index row = row_begin(tile); row < row_end(tile); ++row) {
          row_starts_.push_back(static_cast<std::uint32_t>(entries_.size() - base));
          for (Index& i = cursor[row]; i < starts[row + 1] && static_cast<Index>(columns[i]) < last; ++i) {
            const Index channel = columns[i] / taps, tap = columns[i] % taps;
            entries_.push_back(
                {static_cast<std::uint32_t>((channel - first) * shape_.channel_step + shape_.taps[tap]), values[i]});
          }
        }
        row_starts_.push_back(static_cast<std::uint32_t>(entries_.size() - base));
      }
    }
  }

  Index count() const override { return static_cast<Index>(tile_starts_.size()) - 1; }
  Index row_begin(Index tile) const override { return tile_starts_[tile]; }
  Index row_end(Index tile) const override { return tile_starts_[tile + 1]; }
  Index bytes() const { return bytes_of(tile_starts_) + bytes_of(block_starts_) + bytes_of(row_starts_) + bytes_of(entries_); }
  const TileShape& shape() const { return shape_; }

  void multiply(const TileJob& job) const override {
    const Kernels& table = *job.kernels;
    const Index rows = row_end(job.tile) - row_begin(job.tile);
    static constexpr std::uint32_t kNoRows[kMaxTileRows + 1] = {};
    SpmmArgs args{};
    args.rows = static_cast<std::uint32_t>(rows);
    args.width = static_cast<std::uint32_t>(job.width);
    const Index passes = std::max<Index>(1, blocks_);  // no columns at all: the result is the bias
    for (Index block = 0; block < passes; ++block) {
      const bool first = block == 0, last = block == passes - 1;
      // row_starts_ holds rows + 1 entries for every (tile, block) before this one.
      args.row_starts =
          blocks_ == 0 ? kNoRows : row_starts_.data() + (row_begin(job.tile) + job.tile) * blocks_ + block * (rows + 1);
      args.entries = blocks_ == 0 ? nullptr : entries_.data() + block_starts_[job.tile * blocks_ + block];
      args.x = job.x + block * shape_.block_channels * shape_.channel_step;
      args.bias = first && job.bias ? job.bias + row_begin(job.tile) : nullptr;
      args.sums = first ? job.initial : job.partial;
      args.sums_row_stride = first ? job.initial_row_stride : kTileColumns;
      args.y = last ? job.y : job.partial;
      args.y_row_stride = last ? job.y_row_stride : kTileColumns;
      args.fetch_y = last && job.fetch_y;
      args.activation = last ? job.activation : Activation::none;
      table.spmm(args);
    }
  }

 private:
  TileShape shape_;
  Index rows_;
  Index blocks_;
  std::vector<Index> tile_starts_;
  std::vector<Index> block_starts_;        // per (tile, block): its first entry
  std::vector<std::uint32_t> row_starts_;  // per (tile, block): rows + 1, relative to the block's start
  std::vector<TileEntry> entries_;
};

}  // namespace sparse_engine
