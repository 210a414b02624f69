// The layout of a CSR matrix that wide products read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/table.hpp"
#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

inline constexpr Index kMaxTileRows = 256;  // 256 × 64 floats of output stay in the L2 cache

template <class T>
inline Index bytes_of(const std::vector<T>& v) {
  return static_cast<Index>(v.capacity() * sizeof(T));
}

// A wide layout: tile by tile of rows, in it block by block of columns, in it row by row; the order the kernel reads.
class CsrTiles final : public Tiles {
 public:
  CsrTiles(const TileShape& shape, Index rows, Index cols) : shape_(shape), rows_(rows) {
    const Index block_columns = shape.block_channels * static_cast<Index>(shape.taps.size());
    blocks_ = (cols + block_columns - 1) / block_columns;
    // Enough tiles to share a small matrix between threads, few enough that a block of X is used many times.
    const Index quarter = (rows + 3) / 4;
    const Index tile_rows = std::clamp<Index>((quarter + 7) / 8 * 8, 32, kMaxTileRows);
    for (Index group = 0; group < rows; group += shape.group_rows) {
      const Index group_end = std::min(rows, group + shape.group_rows);
      for (Index row = group; row < group_end; row += tile_rows) tile_starts_.push_back(row);
    }
    tile_starts_.push_back(rows);
  }

  Index count() const override { return static_cast<Index>(tile_starts_.size()) - 1; }
  Index row_begin(Index tile) const override { return tile_starts_[tile]; }
  Index row_end(Index tile) const override { return tile_starts_[tile + 1]; }
  Index bytes() const { return bytes_of(tile_starts_) + bytes_of(block_starts_) + bytes_of(row_starts_) + bytes_of(entries_); }
  const TileShape& shape() const { return shape_; }

  template <class Column>
  void fill(const std::vector<Index>& starts, const std::vector<Column>& columns, const std::vector<float>& values) {
    block_starts_.reserve(count() * blocks_);
    row_starts_.reserve((rows_ + count()) * blocks_);
    entries_.reserve(values.size());
    const Index taps = static_cast<Index>(shape_.taps.size());
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

  void multiply(const TileJob& job) const override {
    const Kernels& table = *job.kernels;
    const Index rows = row_end(job.tile) - row_begin(job.tile);
    // row_starts_ holds rows + 1 entries for every (tile, block) before this one.
    const std::uint32_t* row_starts = row_starts_.data() + (row_begin(job.tile) + job.tile) * blocks_;
    CsrSpmmArgs args{};
    args.y = job.y;
    args.y_row_stride = job.y_row_stride;
    args.sums = job.y;  // not read by a first block
    args.sums_row_stride = job.y_row_stride;
    args.rows = static_cast<std::uint32_t>(rows);
    args.width = static_cast<std::uint32_t>(job.width);
    args.bias = job.bias ? job.bias + row_begin(job.tile) : nullptr;
    static constexpr std::uint32_t kNoRows[kMaxTileRows + 1] = {};
    if (blocks_ == 0) {  // no columns at all: the result is the bias
      args.row_starts = kNoRows;
      args.first = true;
      args.activation = job.activation;
      table.csr_spmm(args);
    }
    for (Index block = 0; block < blocks_; ++block) {
      args.row_starts = row_starts + block * (rows + 1);
      args.entries = entries_.data() + block_starts_[job.tile * blocks_ + block];
      args.x = job.x + block * shape_.block_channels * shape_.channel_step;
      args.first = block == 0;
      if (job.partial != nullptr) {
        const bool last = block == blocks_ - 1;
        args.sums = job.partial;
        args.sums_row_stride = kTileColumns;
        args.y = last ? job.y : job.partial;
        args.y_row_stride = last ? job.y_row_stride : kTileColumns;
        args.fetch_y = last && job.fetch_y;
      }
      args.activation = block == blocks_ - 1 ? job.activation : Activation::none;
      table.csr_spmm(args);
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
