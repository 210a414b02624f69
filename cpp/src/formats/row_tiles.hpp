// The layout that wide products of single weights read, whatever the format they come from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "base/aligned_array.hpp"
#include "base/check.hpp"
#include "base/parallel.hpp"
#include "base/tuning.hpp"
#include "base/workspace.hpp"
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
    const Index strips = rows / height, longest = std::min(block_columns, cols);
    std::vector<std::uint32_t> offsets(longest);  // of the columns of a block, which are alike in all of them
    for (Index column = 0; column < longest; ++column)
      offsets[column] = static_cast<std::uint32_t>(column / taps * shape.channel_step + shape.taps[column % taps]);
    block_starts_.resize(count() * blocks_);
    strip_starts_.resize((strips + count()) * blocks_);
    order_.resize(strips * blocks_ + kStripsAhead);
    entries_.resize(starts.back());
    // A tile's entries are those of its rows, so each is filled without knowing of the others.
    const int threads = threads_for(starts.back() * height * kFillingCosts);
    std::vector<Filling> rooms(static_cast<std::size_t>(threads), Filling(largest_tile() / height, longest));
    parallel::parallel_for(count(), threads, [&](Index tile, int worker) {
      fill_tile(tile, rooms[worker], offsets, block_columns, starts, columns, values);
    });
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
  Index blocks() const override { return blocks_; }
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
    args.from_afar = bytes_of(entries_) > tuning().kept_weights_bytes;
    const Index strips_before = row_begin(job.tile) / height * blocks_;
    for (Index block = job.first_block; block < job.end_block; ++block) {
      const bool first = block == 0, last = block == blocks_ - 1;
      args.order = order_.data() + strips_before + block * strips;
      // strip_starts_ holds one more than strips for every (tile, block) before this one.
      args.strip_starts = strip_starts_.data() + strips_before + job.tile * blocks_ + block * (strips + 1);
      args.entries = entries_.data() + block_starts_[job.tile * blocks_ + block];
      args.x = job.x + (block - job.first_block) * shape_.block_channels * shape_.channel_step;
      args.bias = first && job.bias ? job.bias + row_begin(job.tile) : nullptr;
      args.sums = first ? job.initial : job.partial;
      args.sums_row_stride = first ? job.initial_row_stride : job.partial_row_stride;
      args.y = last ? job.y : job.partial;
      args.y_row_stride = last ? job.y_row_stride : job.partial_row_stride;
      args.fetch_y = last && job.fetch_y;
      args.stream_y = last && job.stream_y;
      args.places = last ? job.places : nullptr;
      args.activation = last ? job.activation : Activation();
      run(table, args);
    }
  }

 private:
  static constexpr Index kFillingCosts = 8;  // an entry, in multiplications and additions

  // What filling a tile needs room for.
  struct Filling {
    Filling(Index strips, Index longest) : begin(strips), end(strips), order(strips), by_length(longest + 1) {}
    std::vector<Index> begin, end;  // of each strip, what lies in the block
    std::vector<std::uint8_t> order;
    std::vector<Index> by_length;  // where the strips of a length go
  };

  Index largest_tile() const {
    Index largest = 0;
    for (Index tile = 0; tile < count(); ++tile) largest = std::max(largest, row_end(tile) - row_begin(tile));
    return largest;
  }

  template <class Columns, class Values>
  void fill_tile(Index tile, Filling& room, const std::vector<std::uint32_t>& offsets, Index block_columns,
                 const std::vector<Index>& starts, const Columns& columns, const Values& values) {
    const Index first_strip = row_begin(tile) / height, strips = row_end(tile) / height - first_strip;
    std::uint8_t* order = order_.data() + first_strip * blocks_;
    std::uint32_t* strip_starts = strip_starts_.data() + (first_strip + tile) * blocks_;
    Index at = starts[first_strip];
    for (Index strip = 0; strip < strips; ++strip) room.end[strip] = starts[first_strip + strip];
    for (Index block = 0; block < blocks_; ++block) {
      const Index first = block * block_columns, last = first + block_columns;
      for (Index strip = 0; strip < strips; ++strip) {
        Index end = room.begin[strip] = room.end[strip];
        const Index stop = starts[first_strip + strip + 1];
        while (end < stop && static_cast<Index>(columns[end]) < last) ++end;
        room.end[strip] = end;
      }
      const Index base = at;
      block_starts_[tile * blocks_ + block] = base;
      put_in_order(strips, room);
      for (Index next = 0; next < strips; ++next) {
        const Index strip = room.order[next];
        *order++ = room.order[next];
        *strip_starts++ = static_cast<std::uint32_t>(at - base);
        for (Index i = room.begin[strip]; i < room.end[strip]; ++i, ++at) {
          TileEntry<height>& entry = entries_[at];
          entry.offset = offsets[static_cast<Index>(columns[i]) - first];
          for (int r = 0; r < height; ++r) entry.values[r] = values[i * height + r];
        }
      }
      *strip_starts++ = static_cast<std::uint32_t>(at - base);
    }
  }

  // Strips of about the same length follow one another, so that the processor foresees where their loops end; not where they
  // are so short that coming and going of sums, which follow one another in memory, decides. By counting, for lengths are
  // small.
  static void put_in_order(Index strips, Filling& room) {
    std::iota(room.order.begin(), room.order.begin() + strips, std::uint8_t{0});
    if (height > 1 || strips < tuning().sorted_strips) return;
    const auto length = [&](Index strip) { return room.end[strip] - room.begin[strip]; };
    Index all = 0, longest = 0;
    for (Index strip = 0; strip < strips; ++strip) {
      all += length(strip);
      longest = std::max(longest, length(strip));
    }
    if (all < tuning().sorted_weights * strips) return;
    std::vector<Index>& next = room.by_length;
    std::fill_n(next.begin(), longest + 1, Index{0});
    for (Index strip = 0; strip < strips; ++strip) ++next[length(strip)];
    Index before = 0;
    for (Index of_length = longest; of_length >= 0; --of_length) before += std::exchange(next[of_length], before);
    for (Index strip = 0; strip < strips; ++strip) room.order[next[length(strip)]++] = static_cast<std::uint8_t>(strip);
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
  Array<TileEntry<height>> entries_;
};

// Rows that share nothing.
using RowTiles = StripTiles<1>;

}  // namespace sparse_engine
