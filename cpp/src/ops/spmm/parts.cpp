#include "ops/spmm/parts.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <numeric>
#include <type_traits>

#include "base/caches.hpp"
#include "base/check.hpp"
#include "base/parallel.hpp"
#include "base/registry.hpp"
#include "base/workspace.hpp"

namespace sparse_engine {
namespace {

constexpr Index kTile = kTileColumns;

// A call cut into parts, each packed and multiplied by one thread alone: what one core packs another reads slowly. A part of a
// pointwise product is a panel of its columns, which run on across images, or is read where it lies; of another, a band of
// output rows of one image, whose planes hold the input rows it needs; of a depthwise convolution some channels of an image,
// each plane in one piece.
class Parts {
 public:
  Parts(const Kernels& table, const ConstImages& x, const Conv2dShape& s, const Geometry& whole, const Matrix& w,
        const Epilogue& epilogue, const Images& y, int threads)
      : table_(table), x_(x), s_(s), g_(whole), epilogue_(epilogue), y_(y) {
    group_channels_ = x.channels / s.groups;
    group_rows_ = w.rows() / s.groups;
    in_place_ = readable_in_place(w);
    if (in_place_) {
      image_parts_ = (g_.positions + kTile - 1) / kTile;
      parts_ = checked_mul(x.batch, image_parts_, "panels");
      g_.channel_floats = x.stride_c;
      part_floats_ = 0;
    } else if (g_.pointwise) {
      positions_ = checked_mul(x.batch, g_.positions, "columns");
      parts_ = (positions_ + kTile - 1) / kTile;
      // Panels of about equal width: a narrow last one would cost nearly as much as a wide one.
      const Index vectors = (positions_ + table.lanes - 1) / table.lanes;
      panel_columns_ = (vectors + parts_ - 1) / parts_ * table.lanes;
      parts_ = (positions_ + panel_columns_ - 1) / panel_columns_;
      // A power of two, so that sizes of input share layouts.
      g_.channel_floats = std::min<Index>(kTile, static_cast<Index>(std::bit_ceil(static_cast<std::uint64_t>(panel_columns_))));
      part_floats_ = checked_mul(x.channels, g_.channel_floats, "packed panel");
    } else {
      depthwise_ = group_channels_ == 1 && group_rows_ == 1;
      by_row_ = !depthwise_ && writes_rows();
      // Every third tap then loads within a cache line. Of narrow planes fewer fit the caches then; few filters repay no gaps.
      const bool aligned = by_row_ && s.stride_w == 1 && y.width > kTile && group_rows_ >= 64;
      const Rows plane_rows = aligned ? Rows::aligned : Rows::close;
      if (aligned) g_ = geometry(s, whole.out, plane_rows);
      check_reachable(g_, 1);  // bands of it would each be small enough
      cut_into_bands(depthwise_ ? 1 : threads);
      g_ = geometry(s, {band_rows_, whole.out.width}, plane_rows);
      parts_ = checked_mul(x.batch, bands_, "bands");
      positions_ = g_.positions;
      skips_gaps_ = !depthwise_ && !by_row_ && w.strip_height() == 1 && table.lanes >= kLeastPicked && !epilogue.residual &&
                    y.stride_w == 1 && y.stride_h == y.width;
      part_floats_ =
          checked_mul(depthwise_ ? std::min(kDepthwiseChannels, x.channels) : x.channels, g_.channel_floats, "packed image");
    }
    tiles_ = w.tiles(tile_shape(s, g_, group_rows_, group_channels_, w));
    // Few parts are multiplied by several threads, each packing them for itself.
    splits_ = depthwise_                ? (tiles_->count() + kDepthwiseChannels - 1) / kDepthwiseChannels
              : evenly(parts_, threads) ? 1
                                        : std::min<Index>(threads, tiles_->count());
    const Index y_bytes = static_cast<Index>(sizeof(float)) * y.batch * y.channels * y.height * y.width;
    large_y_ = y_bytes > caches().near();
    streamed_y_ = y_bytes > caches().result() && y.stride_c % kLineFloats == 0;
  }

  Index tasks() const { return parts_ * splits_; }
  Index packed_floats() const { return checked_add(part_floats_, kSlack, "packed input"); }
  Index result_floats() const {
    if (depthwise_) return positions_ + kSlack;
    Index rows = 0;
    for (Index tile = 0; tile < tiles_->count(); ++tile) rows = std::max(rows, tiles_->row_end(tile) - tiles_->row_begin(tile));
    return rows * kTile;
  }

  // `packed` and `result` are the caller's own.
  void run(Index task, float* packed, float* result) const {
    const Index part = task / splits_, split = task % splits_;
    if (depthwise_) return run_depthwise(part, split, packed, result);
    const Index begin = tiles_->count() * split / splits_, end = tiles_->count() * (split + 1) / splits_;
    if (in_place_) {
      const Index image = part / image_parts_, position = part % image_parts_ * kTile;
      const Place place{
          .image = image, .first_row = 0, .position = position, .columns = std::min(kTile, g_.positions - position)};
      const float* x = x_.data + image * x_.stride_n + position;
      for (Index tile = begin; tile < end; ++tile) multiply(tile, x + group_planes(tile), place, result);
      return;
    }
    if (g_.pointwise) {
      const Index position = part * panel_columns_, columns = std::min(panel_columns_, positions_ - position);
      pack_pointwise(table_, x_, s_, g_, position, columns, packed);
      for (Index tile = begin; tile < end; ++tile)
        multiply(tile, packed + group_planes(tile), {.image = 0, .first_row = 0, .position = position, .columns = columns},
                 result);
      return;
    }
    const Index image = part / bands_, first_row = part % bands_ * band_rows_;
    const Index rows = std::min(band_rows_, y_.height - first_row);
    pack_planes(table_, x_, s_, g_, image, first_row, 0, x_.channels, packed);
    // The last tile of the last plane reads up to a tile past its end.
    std::fill_n(packed + part_floats_, kSlack, 0.0f);
    const auto run_panels = [&](Index first, Index positions) {
      const Index panels = (positions + kTile - 1) / kTile;
      const Index vectors = (positions + table_.lanes - 1) / table_.lanes;
      const Index panel_columns = (vectors + panels - 1) / panels * table_.lanes;
      for (Index position = first; position < first + positions; position += panel_columns) {
        const Place place{.image = image,
                          .first_row = first_row,
                          .position = position,
                          .columns = std::min(panel_columns, first + positions - position)};
        const PanelPlaces places = skips_gaps_ ? places_of(place, rows) : PanelPlaces{};
        for (Index tile = begin; tile < end; ++tile)
          multiply(tile, packed + group_planes(tile) + position, place, result, skips_gaps_ ? &places : nullptr);
      }
    };
    if (by_row_) {
      for (Index row = 0; row < rows; ++row) run_panels(row * g_.pitch, g_.out.width);
    } else {
      run_panels(0, (rows - 1) * g_.pitch + g_.out.width);
    }
  }

 private:
  static constexpr Index kSlack = 2 * kTile;
  static constexpr Index kDepthwiseChannels = 16;

  // A row per channel reads only its own plane.
  void run_depthwise(Index image, Index split, float* packed, float* result) const {
    const Index first = split * kDepthwiseChannels, channels = std::min(kDepthwiseChannels, x_.channels - first);
    pack_planes(table_, x_, s_, g_, image, 0, first, channels, packed);
    std::fill_n(packed + channels * g_.channel_floats, kSlack, 0.0f);
    const Place place{.image = image, .first_row = 0, .position = 0, .columns = positions_};
    for (Index channel = 0; channel < channels; ++channel)
      multiply(first + channel, packed + channel * g_.channel_floats, place, result);
  }

  static bool is_line(const float* p) { return reinterpret_cast<std::uintptr_t>(p) % (kLineFloats * sizeof(float)) == 0; }
  static bool evenly(Index parts, Index threads) { return parts % threads == 0 || parts >= 4 * threads; }

  // Where a row of X is used by few weights, copying it costs more than it saves; fewer still where X comes from memory, which
  // copying asks for in time. Images only: their sizes are few, and each asks for a layout of its own; the columns of a product
  // are often another number with every call.
  bool readable_in_place(const Matrix& w) const {
    constexpr Index kMostUses = 16, kMostUsesFromMemory = 2, kCacheSets = 64, kMostLinesApart = 4;
    const bool whole = s_.stride_h == 1 && s_.stride_w == 1 && x_.stride_w == 1 && x_.stride_h == x_.width;
    if (!g_.pointwise || !whole || x_.height < 2 || g_.positions % table_.lanes != 0) return false;
    // Rows a power of two apart share cache sets, rows that begin amid a line cost two.
    if (x_.stride_c < g_.positions || x_.stride_c > Index{1} << 20 || x_.stride_c % kLineFloats != 0) return false;
    if (std::gcd(x_.stride_c / kLineFloats, kCacheSets) > kMostLinesApart) return false;
    const bool cached = static_cast<Index>(sizeof(float)) * x_.batch * x_.channels * g_.positions <= caches().near();
    return w.nnz() <= (cached ? kMostUses : kMostUsesFromMemory) * x_.channels;
  }

  // Whether panels may end with the output rows, so that they are written where they belong instead of copied there. They
  // have to be whole vectors, and nearly as wide as others.
  bool writes_rows() const {
    const Index width = y_.width, panels = (width + kTile - 1) / kTile;
    return y_.stride_w == 1 && width % (panels * table_.lanes) == 0 && width / panels >= 48;
  }

  // As few bands as give every thread as much to do, each at least a panel wide; more where the planes of one would not stay in
  // the L2 cache, from which every row of them is read once for each row of the kernel.
  void cut_into_bands(Index threads) {
    const Index height = y_.height, least_rows = std::min(height, (kTile + y_.width - 1) / y_.width);
    bands_ = 1;
    while (bands_ < threads && !evenly(y_.batch * bands_, threads) && height / (bands_ + 1) >= least_rows) ++bands_;
    if (!evenly(y_.batch * bands_, threads)) bands_ = 1;
    if (!depthwise_) {
      const Index band_floats = caches().band() / static_cast<Index>(sizeof(float));
      const Index row_floats = std::max<Index>(1, x_.channels * g_.pitch * g_.phases_h * g_.phases_w);
      const Index halo = g_.plane_rows - g_.out.height;  // packed for every band
      const Index rows = std::max({least_rows, 2 * halo, band_floats / row_floats - halo});
      // A multiple, so that threads still have as much to do as each other.
      bands_ *= (height + rows * bands_ - 1) / (rows * bands_);
    }
    band_rows_ = (height + bands_ - 1) / bands_;
    bands_ = (height + band_rows_ - 1) / band_rows_;
  }

  // Columns [position, position + columns) of a product: of all images, or of the rows of one from first_row on.
  struct Place {
    Index image, first_row, position, columns;
  };

  template <class Float>
  auto view(Float* data) const {
    using View = std::conditional_t<std::is_const_v<Float>, ConstImages, Images>;
    return View{data, y_.batch, y_.channels, y_.height, y_.width, y_.stride_n, y_.stride_c, y_.stride_h, y_.stride_w};
  }

  // Where the columns of a panel that are outputs go, in planes of y without gaps, of which `rows` are the part's.
  PanelPlaces places_of(const Place& p, Index rows) const {
    PanelPlaces places{};
    const Index vectors = (p.columns + table_.lanes - 1) / table_.lanes, end = rows * y_.width;
    for (Index v = 0; v < vectors; ++v) {
      const Index first = p.position + v * table_.lanes;
      const Index begin = first / g_.pitch * y_.width + std::min(first % g_.pitch, y_.width);
      places.begins[v] = static_cast<std::int32_t>(begin);
      for (Index lane = 0; lane < table_.lanes && v * table_.lanes + lane < p.columns; ++lane)
        if ((first + lane) % g_.pitch < y_.width)
          places.lanes[v * table_.lanes + places.outputs[v]++] = static_cast<std::uint32_t>(lane);
      if (begin + table_.lanes <= end) places.whole = static_cast<std::int32_t>(v + 1);
    }
    return places;
  }

  // Where the input channels of a tile's group begin.
  Index group_planes(Index tile) const { return tiles_->row_begin(tile) / group_rows_ * group_channels_ * g_.channel_floats; }

  // x: the tile's input channels, from the first position on.
  void multiply(Index tile, const float* x, const Place& p, float* result, const PanelPlaces* places = nullptr) const {
    const Index first_channel = tiles_->row_begin(tile), channels = tiles_->row_end(tile) - first_channel;
    const Index width = (p.columns + table_.lanes - 1) / table_.lanes * table_.lanes;
    const Index offset = p.image * y_.stride_n + first_channel * y_.stride_c + p.first_row * y_.stride_h;
    // Within one image and without gaps the kernel writes y itself.
    const Index image = p.position / g_.positions;
    const bool gaps = !g_.pointwise || y_.stride_w != 1 || y_.stride_h != y_.width;
    const bool direct =
        by_row_ || places || (!gaps && p.columns == width && (p.position + p.columns - 1) / g_.positions == image);
    const Index place = places    ? offset
                        : by_row_ ? offset + p.position / g_.pitch * y_.stride_h + p.position % g_.pitch
                                  : offset + image * y_.stride_n + p.position % g_.positions;
    const float* residual = epilogue_.residual;
    if (residual && direct) {
      residual += place;
    } else if (residual) {
      std::fill_n(result, (channels - 1) * kTile + std::max(kTile, width), 0.0f);
      pack_positions(table_, g_, view(residual + offset), channels, p.position, p.columns, result);
      residual = result;
    }
    tiles_->multiply({.kernels = &table_,
                      .tile = tile,
                      .x = x,
                      .width = width,
                      .bias = epilogue_.bias,
                      .initial = residual,
                      .initial_row_stride = direct ? y_.stride_c : kTile,
                      .activation = epilogue_.activation,
                      .y = direct ? y_.data + place : result,
                      .y_row_stride = direct ? y_.stride_c : kTile,
                      .fetch_y = direct && large_y_,
                      .stream_y = direct && !places && streamed_y_ && p.columns == kTile && is_line(y_.data + place),
                      .places = places,
                      .partial = result});
    if (!direct) unpack_positions(table_, g_, result, channels, p.position, p.columns, view(y_.data + offset));
  }

  const Kernels& table_;
  const ConstImages& x_;
  const Conv2dShape& s_;
  Geometry g_;  // of all images of a pointwise product, of a band of another
  const Epilogue& epilogue_;
  const Images& y_;
  std::shared_ptr<const Tiles> tiles_;
  Index group_channels_, group_rows_;
  Index bands_ = 1, band_rows_ = 0;  // of one image
  Index positions_ = 0, panel_columns_ = 0, image_parts_ = 0, parts_, part_floats_, splits_;
  bool in_place_, depthwise_ = false, by_row_ = false, skips_gaps_ = false, large_y_, streamed_y_;
};

}  // namespace

void multiply_in_parts(const ConstImages& x, const Matrix& w, const Conv2dShape& s, const Geometry& g, const Epilogue& epilogue,
                       const Images& y) {
  const int threads = threads_for(checked_mul(w.nnz() + w.rows(), checked_mul(g.positions, x.batch, "work"), "work"));
  const Parts parts(kernels(), x, s, g, w, epilogue, y, threads);
  const Index packed_floats = parts.packed_floats(), result_floats = parts.result_floats();
  float* packed = room(Room::packed_input, checked_mul(threads, packed_floats, "packed input"));
  float* results = room(Room::output_tiles, threads * result_floats);
  parallel::parallel_for(parts.tasks(), threads, [&](Index task, int worker) {
    parts.run(task, packed + worker * packed_floats, results + worker * result_floats);
  });
}

}  // namespace sparse_engine
