#include "sparse_engine/conv.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "check.hpp"
#include "conv_planes.hpp"
#include "parallel.hpp"
#include "registry.hpp"
#include "work.hpp"

namespace sparse_engine {
namespace {

constexpr Index kTile = kTileColumns;
constexpr Index kCachedBytes = 4 * 1024 * 1024;  // more than this of y is not in the cores' own caches

void check_arguments(const ConstImages& x, const Matrix& w, const Conv2dShape& s, const OutputSize& out, const Images& y) {
  check(x.batch >= 0, "x has a batch of ", x.batch, "; it must not be negative");
  check(s.groups >= 1, "groups = ", s.groups, "; it must be at least 1");
  check(x.channels % s.groups == 0, "groups = ", s.groups, " does not divide the ", x.channels, " input channels");
  check(w.rows() % s.groups == 0, "groups = ", s.groups, " does not divide the ", w.rows(), " output channels");
  const Index cols = checked_mul(x.channels / s.groups, checked_mul(s.kernel_h, s.kernel_w, "kernel"), "columns");
  check(w.cols() == cols, "W has ", w.cols(), " columns; ", x.channels, " / ", s.groups, " input channels and a kernel of ",
        s.kernel_h, " × ", s.kernel_w, " need ", cols);
  check(s.kernel_h * s.kernel_w <= kMaxTaps, "a kernel of ", s.kernel_h, " × ", s.kernel_w, " has more than ", kMaxTaps,
        " cells; direct convolution does not take it");
  check(y.batch == x.batch && y.channels == w.rows() && y.height == out.height && y.width == out.width, "y has shape (",
        y.batch, ", ", y.channels, ", ", y.height, ", ", y.width, "); the convolution needs (", x.batch, ", ", w.rows(), ", ",
        out.height, ", ", out.width, ")");
}

// What stays the same over one call.
struct Call {
  const Kernels& table;
  const ConstImages& x;
  const Conv2dShape& s;
  const Geometry& g;
  const Tiles& tiles;
  Index group_channels, group_rows;
  const float* bias;
  Activation activation;
  const Images& y;
  Index image_floats;  // packed floats of one image
  bool large_y;
};

// Some images of a call, packed into a buffer of their own and then multiplied. A pointwise product takes them as one long row
// of columns, another takes each by itself.
class Group {
 public:
  Group(const Call& call, Index first_image, Index images, float* packed)
      : c_(call), first_image_(first_image), products_(call.g.pointwise ? 1 : images), packed_(packed) {
    positions_ = call.g.pointwise ? images * call.g.positions : call.g.positions;
    panels_ = (positions_ + kTile - 1) / kTile;
    // Panels of equal width: a narrow last one would cost nearly as much as a wide one.
    const Index vectors = (positions_ + call.table.lanes - 1) / call.table.lanes;
    panel_columns_ = (vectors + panels_ - 1) / panels_ * call.table.lanes;
    pieces_ = (call.x.channels + kPackChannels - 1) / kPackChannels;
    pack_tasks_ = (call.g.pointwise ? panels_ : images) * pieces_;
    // The last tile of the last plane reads up to a tile past its end; panels are read as they were written.
    if (!call.g.pointwise) std::fill_n(packed + images * call.image_floats, kSlack, 0.0f);
  }

  static constexpr Index kSlack = 2 * kTile;  // floats behind the images in the buffer

  Index pack_tasks() const { return pack_tasks_; }
  Index multiply_tasks() const { return products_ * panels_ * c_.tiles.count(); }

  void pack(Index task) const {
    const Index place = task / pieces_;
    pack_piece(place, task % pieces_, packed_ + place * (c_.g.pointwise ? c_.x.channels * kTile : c_.image_floats));
  }

  void multiply(Index task, float* result) const {
    const Index panel = task / c_.tiles.count() % panels_;
    const Index product = task / c_.tiles.count() / panels_;
    const Index begin = c_.g.pointwise ? panel * c_.x.channels * kTile : product * c_.image_floats + panel * panel_columns_;
    multiply_tile(product, panel, task % c_.tiles.count(), packed_ + begin, result);
  }

  // Of a pointwise product: one panel from x to y, with room for channels × 64 floats.
  Index panels() const { return panels_; }
  void take_panel(Index panel, float* packed, float* result) const {
    for (Index piece = 0; piece < pieces_; ++piece) pack_piece(panel, piece, packed);
    for (Index tile = 0; tile < c_.tiles.count(); ++tile) multiply_tile(0, panel, tile, packed, result);
  }

 private:
  static constexpr Index kPackChannels = 16;

  Index columns_of(Index panel) const { return std::min(panel_columns_, positions_ - panel * panel_columns_); }

  void pack_piece(Index place, Index piece, float* target) const {
    const Index channel = piece * kPackChannels;
    const Index channels = std::min(kPackChannels, c_.x.channels - channel);
    if (c_.g.pointwise) {
      pack_pointwise(c_.table, c_.x, c_.s, c_.g, first_image_, place * panel_columns_, columns_of(place), channel, channels,
                     target);
    } else {
      pack_planes(c_.table, c_.x, c_.s, c_.g, first_image_ + place, channel, channels, target);
    }
  }

  void multiply_tile(Index product, Index panel, Index tile, const float* x, float* result) const {
    const Index first_row = c_.tiles.row_begin(tile), rows = c_.tiles.row_end(tile) - first_row;
    const Index columns = columns_of(panel), width = (columns + c_.table.lanes - 1) / c_.table.lanes * c_.table.lanes;
    const Index position = panel * panel_columns_, image = position / c_.g.positions;
    // Within one image and without gaps the kernel writes y itself.
    const Images& y = c_.y;
    const bool gaps = !c_.g.pointwise || y.stride_w != 1 || y.stride_h != y.width;
    const bool direct = !gaps && columns == width && (position + columns - 1) / c_.g.positions == image;
    float* target = y.data + (first_image_ + image) * y.stride_n + first_row * y.stride_c + position % c_.g.positions;
    c_.tiles.multiply({.kernels = &c_.table,
                       .tile = tile,
                       .x = x + first_row / c_.group_rows * c_.group_channels * c_.g.channel_floats,
                       .width = width,
                       .bias = c_.bias,
                       .activation = c_.activation,
                       .y = direct ? target : result,
                       .y_row_stride = direct ? y.stride_c : kTile,
                       .fetch_y = direct && c_.large_y,
                       .partial = result});
    if (direct) return;
    unpack_positions(c_.table, c_.g, result, rows, first_row, position, columns, y, first_image_ + product);
  }

  const Call& c_;
  Index first_image_;
  Index products_;
  float* packed_;
  Index positions_, panels_, panel_columns_, pieces_, pack_tasks_;
};

}  // namespace

OutputSize conv2d_output_size(const Conv2dShape& s, Index height, Index width) {
  const auto axis_size = [](Index size, Index kernel, Index stride, Index before, Index after, Index dilation,
                            const char* name) {
    check(kernel >= 1, "kernel ", name, " = ", kernel, "; it must be at least 1");
    check(stride >= 1, "stride ", name, " = ", stride, "; it must be at least 1");
    check(dilation >= 1, "dilation ", name, " = ", dilation, "; it must be at least 1");
    check(before >= 0 && after >= 0, "padding ", name, " = ", std::min(before, after), "; it must not be negative");
    check(size >= 0, "input ", name, " = ", size, "; it must not be negative");
    const Index padded = checked_add(checked_add(size, before, "padded input"), after, "padded input");
    const Index reach = checked_add(checked_mul(dilation, kernel - 1, "kernel"), 1, "kernel");
    check(reach <= padded, "the kernel reaches over ", reach, " cells in ", name, " but the padded input has ", padded);
    return (padded - reach) / stride + 1;
  };
  return {axis_size(height, s.kernel_h, s.stride_h, s.pad_top, s.pad_bottom, s.dilation_h, "height"),
          axis_size(width, s.kernel_w, s.stride_w, s.pad_left, s.pad_right, s.dilation_w, "width")};
}

void conv2d(const ConstImages& x, const Matrix& w, const Conv2dShape& s, const float* bias, Activation activation,
            const Images& y) {
  const OutputSize out = conv2d_output_size(s, x.height, x.width);
  check_arguments(x, w, s, out, y);
  const Geometry g = geometry(s, out);
  if (x.batch == 0 || w.rows() == 0) return;

  const Kernels& table = kernels();
  const Index group_channels = x.channels / s.groups;
  const Index group_rows = w.rows() / s.groups;
  const auto tiles = w.tiles(tile_shape(s, g, group_rows, group_channels));
  const Index image_floats =
      checked_mul(x.channels, g.pointwise ? (g.positions + kTile - 1) / kTile * kTile : g.channel_floats, "packed image");
  const Call call{table,      x,    s,          g, *tiles,       group_channels,
                  group_rows, bias, activation, y, image_floats, 4 * y.batch * y.channels * y.height * y.width > kCachedBytes};
  const int threads = threads_for(checked_mul(w.nnz() + w.rows(), checked_mul(g.positions, x.batch, "work"), "work"));
  Index tile_rows = 0;
  for (Index tile = 0; tile < tiles->count(); ++tile)
    tile_rows = std::max(tile_rows, tiles->row_end(tile) - tiles->row_begin(tile));
  const Index result_floats = tile_rows * kTile;
  float* results = room(Room::output_tiles, threads * result_floats);

  // What one core packs another reads slowly, so each thread takes its own part where there are enough: panels of a pointwise
  // product, images of another. Otherwise all threads share as many images as stay in the shared cache.
  const auto evenly = [&](Index parts) { return parts % threads == 0 || parts >= 4 * threads; };
  const Index panel_floats = checked_mul(x.channels, kTile, "packed panel");
  if (g.pointwise) {
    float* packed = room(Room::packed_input, threads * panel_floats + Group::kSlack);
    const Group group(call, 0, x.batch, packed);
    if (evenly(group.panels())) {
      parallel::parallel_for(group.panels(), threads, [&](Index panel, int worker) {
        group.take_panel(panel, packed + worker * panel_floats, results + worker * result_floats);
      });
      return;
    }
  }
  const bool each_its_own = !g.pointwise && evenly(x.batch);
  constexpr Index kSharedFloats = 2 * 1024 * 1024;
  const Index images_each = each_its_own ? 1 : std::clamp<Index>(kSharedFloats / std::max<Index>(1, image_floats), 1, x.batch);
  const Index buffer_floats =
      checked_add(checked_mul(images_each, image_floats, "packed images"), Group::kSlack, "packed images");
  float* packed = room(Room::packed_input, checked_mul(each_its_own ? threads : 1, buffer_floats, "packed images"));
  if (each_its_own) {
    parallel::parallel_for(x.batch, threads, [&](Index image, int worker) {
      const Group group(call, image, 1, packed + worker * buffer_floats);
      for (Index task = 0; task < group.pack_tasks(); ++task) group.pack(task);
      for (Index task = 0; task < group.multiply_tasks(); ++task) group.multiply(task, results + worker * result_floats);
    });
    return;
  }
  for (Index first = 0; first < x.batch; first += images_each) {
    const Group group(call, first, std::min(images_each, x.batch - first), packed);
    parallel::parallel_for(group.pack_tasks(), threads, [&](Index task, int) { group.pack(task); });
    parallel::parallel_for(group.multiply_tasks(), threads,
                           [&](Index task, int worker) { group.multiply(task, results + worker * result_floats); });
  }
}

}  // namespace sparse_engine
