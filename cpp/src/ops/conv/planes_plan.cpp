#include <algorithm>

#include "base/check.hpp"
#include "base/tuning.hpp"
#include "ops/conv/plan.hpp"
#include "ops/conv/vector_width.hpp"
#include "ops/spmm/blocks.hpp"
#include "ops/spmm/spmm_plan.hpp"
#include "ops/spmm/tiled_output.hpp"

namespace sparse_engine {
namespace {

constexpr Index kSlack = Index{2} * kMostTileColumns;  // the last tile of the last plane reads up to a tile past its end

// Whether panels may end with the output rows, so that they are written where they belong instead of copied there. They have to
// be whole vectors, and nearly as wide as others.
bool writes_rows(const Kernels& table, const Images& y, Index tile_columns) {
  const Index width = y.width, panels = (width + tile_columns - 1) / tile_columns;
  return y.stride_w == 1 && width % (panels * table.lanes) == 0 && width / panels >= tile_columns / 4 * 3;
}

// Output rows of an image, a band at a time.
struct Bands {
  Index count, rows;
};

// As few bands as give every thread as much to do, each at least a panel wide; more where the planes of one would not stay in
// the L2 cache, from which every row of them is read once for each row of the kernel.
Bands cut_into_bands(const Geometry& g, const ConstImages& x, const Images& y, Index threads) {
  const Index height = y.height, least_rows = std::min(height, (kTileColumns + y.width - 1) / y.width);
  Index count = 1;
  while (count < threads && !evenly(y.batch * count, threads) && height / (count + 1) >= least_rows) ++count;
  if (!evenly(y.batch * count, threads)) count = 1;
  const Index band_floats = tuning().band_bytes / static_cast<Index>(sizeof(float));
  const Index row_floats = std::max<Index>(1, x.channels * g.pitch * g.phases_h * g.phases_w);
  const Index halo = g.plane_rows - g.out.height;  // packed for every band
  const Index most = std::max({least_rows, 2 * halo, band_floats / row_floats - halo});
  // A multiple, so that threads still have as much to do as each other.
  count *= (height + most * count - 1) / (most * count);
  const Index rows = (height + count - 1) / count;
  return {(height + rows - 1) / rows, rows};
}

// Whether what a block of taps reads is copied to where no vector lies across cache lines, before W's rows use it. Of vectors
// half a line wide every second load is in one line already; of few uses the copy costs more than it saves, and the taps of a
// channel have to fit the L1 cache.
bool repays_copies(const Kernels& table, const Matrix& w, const Conv2dParams& s, Index rows) {
  const double density = density_of(w);
  const Index taps = s.kernel_h * s.kernel_w;
  const bool fits = taps * widest_tile(table) <= tuning().block_floats * 3 / 4;
  return table.lanes == kLineFloats && w.impl()->strip_height() == 1 && s.groups == 1 && taps > 1 && fits &&
         density >= tuning().copied_from && density * static_cast<double>(rows) >= static_cast<double>(tuning().copied_uses);
}

class PlanesPlan final : public Plan {
 public:
  PlanesPlan(const Kernels& table, const Matrix& w, const ConstImages& x, const Slices& slices, const Conv2dParams& s,
             const Images& y, bool residual, int threads)
      : table_(table),
        x_(x),
        slices_(slices),
        s_(s),
        y_(y),
        tile_columns_(widest_tile(table)),
        by_row_(writes_rows(table, y, tile_columns_)) {
    group_channels_ = x.channels / s.groups;
    group_rows_ = w.rows() / s.groups;
    // Every third tap then loads within a cache line. Of narrow planes fewer fit the caches then; few filters repay no gaps.
    const bool aligned = by_row_ && s.stride_w == 1 && y.width > kTileColumns && group_rows_ >= 64;
    const Rows rows = aligned ? Rows::aligned : Rows::close;
    const Geometry whole = geometry(s, {y.height, y.width}, rows);
    check_reachable(whole.channel_floats, 1);  // bands of it would each be small enough
    bands_ = cut_into_bands(whole, x, y, threads);
    g_ = geometry(s, {bands_.rows, y.width}, rows);
    skips_gaps_ = !by_row_ && w.impl()->strip_height() == 1 && table.lanes >= kLeastPicked && !residual && y.stride_w == 1 &&
                  y.stride_h == y.width;
    planes_floats_ = checked_mul(x.channels, g_.channel_floats, "packed image");
    const Index ranges = checked_mul(x.batch, bands_.count, "bands");
    // Few bands are multiplied by several threads, each packing them for itself.
    splits_ = evenly(ranges, threads) ? 1 : threads;
    read_ = planes_shape(s, g_, group_rows_, group_channels_, w, tile_columns_);
    copies_ = repays_copies(table, w, s, group_rows_ / splits_);
    const TileShape copied = copies_ ? copied_shape(s, group_rows_, group_channels_, tile_columns_) : read_;
    output_ = TiledOutput(table, w.plans().layouts().tiles(copied), g_.grid(), y,
                          by_row_ ? TiledOutput::Rows::by_row : TiledOutput::Rows::gaps, tile_columns_);
    splits_ = std::min(splits_, output_.tiles().count());
    copied_floats_ = copies_ ? copied.block_channels * copied.channel_step : 0;
    // Sums of all rows wait between two copies, of one tile otherwise.
    const Index result_floats = copies_ ? checked_mul(w.rows(), tile_columns_, "sums") : output_.result_floats();
    cut(bands_.count == 1 ? Strategy::planes : Strategy::banded, checked_mul(ranges, splits_, "tasks"), threads, 0,
        checked_add(checked_add(planes_floats_, kSlack + copied_floats_, "packed input"), result_floats, "workspace"));
  }

  const Tiles* tiles() const override { return &output_.tiles(); }

 private:
  void run_one(Index task, const Operands& operands, const float*, float* own) const override {
    const Index band = task / splits_, image = band / bands_.count, first_row = band % bands_.count * bands_.rows;
    const Band b{
        .image = image, .first_row = first_row, .rows = std::min(bands_.rows, y_.height - first_row), .split = task % splits_};
    ConstImages x = x_;
    x.data = operands.x;
    pack_slices(table_, x, slices_, s_, g_, image, first_row, own);
    std::fill_n(own + planes_floats_, kSlack, 0.0f);
    if (by_row_) {
      for (Index row = 0; row < b.rows; ++row) multiply(b, row * g_.pitch, g_.out.width, operands, own);
    } else {
      multiply(b, 0, (b.rows - 1) * g_.pitch + g_.out.width, operands, own);
    }
  }

  struct Band {
    Index image, first_row, rows, split;
  };

  // Panels of about equal width from position `first` on.
  void multiply(const Band& b, Index first, Index positions, const Operands& operands, float* own) const {
    const Tiles& tiles = output_.tiles();
    const Index panels = (positions + tile_columns_ - 1) / tile_columns_;
    const Index vectors = (positions + table_.lanes - 1) / table_.lanes;
    const Index panel_columns = (vectors + panels - 1) / panels * table_.lanes;
    for (Index position = first; position < first + positions; position += panel_columns) {
      const ColumnRange range{.image = b.image,
                              .first_row = b.first_row,
                              .position = position,
                              .columns = std::min(panel_columns, first + positions - position)};
      const PanelPlaces places = skips_gaps_ ? output_.places_of(range, b.rows) : PanelPlaces{};
      const Index begin = tiles.count() * b.split / splits_, end = tiles.count() * (b.split + 1) / splits_;
      if (copies_) {
        multiply_copies(begin, end, range, operands, own, skips_gaps_ ? &places : nullptr);
        continue;
      }
      for (Index tile = begin; tile < end; ++tile) {
        const Index first_channel = tiles.row_begin(tile) / group_rows_ * group_channels_;
        output_.multiply(tile, own + first_channel * g_.channel_floats + position, range, operands,
                         own + planes_floats_ + kSlack, skips_gaps_ ? &places : nullptr);
      }
    }
  }

  // Block by block, for all tiles [begin, end).
  void multiply_copies(Index begin, Index end, const ColumnRange& range, const Operands& operands, float* own,
                       const PanelPlaces* places) const {
    const Tiles& tiles = output_.tiles();
    const Index taps = static_cast<Index>(read_.taps.size()), channels = tiles.shape().block_channels;
    const Index columns = (range.columns + table_.lanes - 1) / table_.lanes * table_.lanes;
    float *const copies = own + planes_floats_ + kSlack, *const results = copies + copied_floats_;
    for (Index block = 0; block < tiles.blocks(); ++block) {
      const Index first = block * channels;
      const float* const planes = own + first * g_.channel_floats + range.position;
      for (Index tap = 0; tap < taps; ++tap)
        table_.panel_pack({.source = planes + read_.taps[static_cast<std::size_t>(tap)],
                           .row_stride = g_.channel_floats,
                           .column_stride = 1,
                           .rows = std::min(channels, x_.channels - first),
                           .columns = columns,
                           .target = copies + tap * tile_columns_,
                           .target_stride = taps * tile_columns_,
                           .target_columns = columns});
      for (Index tile = begin; tile < end; ++tile)
        output_.multiply(tile, copies, block, block + 1, range, operands,
                         results + (tiles.row_begin(tile) - tiles.row_begin(begin)) * tile_columns_, places);
    }
  }

  const Kernels& table_;
  ConstImages x_;
  Slices slices_;
  Conv2dParams s_;
  Images y_;
  Geometry g_;  // of a band
  Bands bands_;
  Index tile_columns_;
  TiledOutput output_;
  TileShape read_;  // where taps lie in planes
  Index group_channels_, group_rows_, splits_, planes_floats_, copied_floats_;
  bool by_row_, skips_gaps_, copies_;
};

}  // namespace

std::shared_ptr<const Plan> plan_planes(const Kernels& table, const Matrix& w, const ConstImages& x, const Slices& slices,
                                        const Conv2dParams& s, const Images& y, bool residual, int threads) {
  // Strips load a vector for several rows, so its loads matter less.
  const Kernels* const fastest = w.impl()->strip_height() == 1 ? kernels_for_planes(table) : &table;
  return std::make_shared<PlanesPlan>(*fastest, w, x, slices, s, y, residual, threads);
}

}  // namespace sparse_engine
