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
  const Tables t = tables(s, g, group_channels);
  const auto tiles = w.tiles({.block_columns = std::max<Index>(1, t.block_columns), .group_rows = group_rows});
  // Floats from one product to the next, and between its panels: planes hold an image each, pointwise panels lie one by one.
  const Index image_floats =
      checked_mul(x.channels, g.pointwise ? (g.positions + kTile - 1) / kTile * kTile : g.channel_floats, "packed image");
  const Index panel_floats = g.pointwise ? x.channels * kTile : 0;

  // As many images at a time as stay in the shared cache.
  constexpr Index kChunkFloats = 2 * 1024 * 1024;
  const Index chunk = std::clamp<Index>(kChunkFloats / std::max<Index>(1, image_floats), 1, x.batch);
  const int threads = threads_for(checked_mul(w.nnz() + w.rows(), checked_mul(g.positions, chunk, "work"), "work"));
  // The last tile of the last plane reads up to a tile past its end.
  const Index packed_floats = checked_add(checked_mul(chunk, image_floats, "packed images"), 2 * kTile, "packed images");
  float* packed = room(Room::packed_input, packed_floats);
  std::fill_n(packed + packed_floats - 2 * kTile, 2 * kTile, 0.0f);
  Index tile_rows = 0;
  for (Index tile = 0; tile < tiles->count(); ++tile)
    tile_rows = std::max(tile_rows, tiles->row_end(tile) - tiles->row_begin(tile));
  float* results = room(Room::output_tiles, threads * tile_rows * kTile);

  const bool gaps = !g.pointwise || y.stride_w != 1 || y.stride_h != y.width;

  constexpr Index kPackChannels = 16;
  const Index pieces = (x.channels + kPackChannels - 1) / kPackChannels;
  for (Index first_image = 0; first_image < x.batch; first_image += chunk) {
    const Index images = std::min(chunk, x.batch - first_image);
    const Index products = g.pointwise ? 1 : images;
    const Index positions = g.pointwise ? images * g.positions : g.positions;
    // Panels of equal width: a narrow last one would cost nearly as much as a wide one.
    const Index vectors = (positions + table.lanes - 1) / table.lanes;
    const Index panels = (positions + kTile - 1) / kTile;
    const Index panel_columns = g.pointwise ? kTile : (vectors + panels - 1) / panels * table.lanes;
    const auto columns_of = [&](Index panel) { return std::min(panel_columns, positions - panel * panel_columns); };
    parallel::parallel_for((g.pointwise ? panels : images) * pieces, threads, [&](Index task, int) {
      const Index place = task / pieces;
      const Index channel = task % pieces * kPackChannels;
      const Index channels = std::min(kPackChannels, x.channels - channel);
      if (g.pointwise) {
        pack_pointwise(table, x, s, g, first_image, place * kTile, columns_of(place), channel, channels,
                       packed + place * panel_floats);
      } else {
        pack_planes(table, x, s, g, first_image + place, channel, channels, packed + place * image_floats);
      }
    });
    parallel::parallel_for(products * panels * tiles->count(), threads, [&](Index task, int worker) {
      const Index tile = task % tiles->count();
      const Index panel = task / tiles->count() % panels;
      const Index product = task / tiles->count() / panels;
      const Index group = tiles->row_begin(tile) / group_rows;
      const float* panel_begin = packed + (g.pointwise ? panel * panel_floats : product * image_floats + panel * panel_columns);
      float* result = results + worker * tile_rows * kTile;
      const Index columns = columns_of(panel), width = (columns + table.lanes - 1) / table.lanes * table.lanes;
      // Within one image and without gaps the kernel writes y itself.
      const Index position = panel * panel_columns, image = position / g.positions;
      const bool direct = !gaps && columns == width && (position + columns - 1) / g.positions == image;
      float* target =
          y.data + (first_image + image) * y.stride_n + tiles->row_begin(tile) * y.stride_c + position % g.positions;
      tiles->multiply({.kernels = &table,
                       .tile = tile,
                       .x = panel_begin + group * group_channels * g.channel_floats,
                       .block_bases = t.block_bases.data(),
                       .offsets = t.offsets.data(),
                       .width = width,
                       .bias = bias,
                       .activation = activation,
                       .y = direct ? target : result,
                       .y_row_stride = direct ? y.stride_c : kTile,
                       .partial = result});
      if (direct) return;
      unpack_positions(table, g, result, tiles->row_end(tile) - tiles->row_begin(tile), tiles->row_begin(tile), position,
                       columns, y, first_image + product);
    });
  }
}

}  // namespace sparse_engine
