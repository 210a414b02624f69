#include "sparse_engine/conv.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "check.hpp"
#include "parallel.hpp"
#include "registry.hpp"
#include "work.hpp"

// Each channel of an image becomes a plane with its padding around it, so that output position p of row r reads tap (i, j) at
// r·pitch + p + a constant: a stored weight needs one offset and the whole plane is one long row of columns. The few columns
// between the end of one output row and the start of the next are computed and dropped. A stride s splits a plane into s × s
// phases, in each of which neighbouring outputs are neighbours again.

namespace sparse_engine {
namespace {

constexpr Index kTile = kTileColumns;
constexpr Index kLineFloats = 16;
constexpr Index kMaxTaps = 65536;  // what a block of columns can number

// Which input coordinate the cells of one phase come from, along one axis: cell q holds input q·stride + first.
struct Axis {
  Index first;  // input coordinate of cell 0; negative inside the padding
  Index begin;  // first cell that holds input
  Index end;    // first cell past the input
};

Axis axis(Index phase, Index stride, Index pad, Index size, Index cells) {
  Axis a{};
  a.first = phase - pad;
  a.begin = a.first >= 0 ? 0 : (-a.first + stride - 1) / stride;
  a.end = size <= a.first ? 0 : (size - a.first + stride - 1) / stride;
  a.begin = std::min(a.begin, cells);
  a.end = std::clamp(a.end, a.begin, cells);
  return a;
}

struct Geometry {
  OutputSize out;
  bool pointwise;            // 1×1 without padding: the columns of all images follow one another, packed panel by panel
  Index pitch, plane_rows;   // of one phase
  Index phases_h, phases_w;  // phases that some tap reads
  Index phase_floats, channel_floats;
  Index positions;  // columns of the product: output rows laid end to end, pitch apart
};

Index phases_read(Index kernel, Index dilation, Index stride) {
  Index last = 0;
  for (Index tap = 0; tap < std::min(kernel, stride); ++tap) last = std::max(last, tap * dilation % stride);
  return last + 1;
}

Geometry geometry(const Conv2dShape& s, const OutputSize& out) {
  Geometry g{};
  g.out = out;
  g.phases_h = phases_read(s.kernel_h, s.dilation_h, s.stride_h);
  g.phases_w = phases_read(s.kernel_w, s.dilation_w, s.stride_w);
  g.pitch = checked_add(g.out.width, (s.kernel_w - 1) * s.dilation_w / s.stride_w, "row pitch");
  // At stride 1 the zeros right of a row can be the zeros left of the next, short of where the next row's outputs begin.
  if (s.stride_w == 1) g.pitch -= std::min({s.pad_left, s.pad_right, (s.kernel_w - 1) * s.dilation_w});
  g.plane_rows = checked_add(g.out.height, (s.kernel_h - 1) * s.dilation_h / s.stride_h, "plane rows");
  g.phase_floats = checked_mul(g.pitch, g.plane_rows, "plane");
  // Room for the shared zeros of the last row; then an odd number of cache lines, so that channels spread over all cache sets.
  Index lines = checked_mul(g.phase_floats, g.phases_h * g.phases_w, "plane") + std::min(s.pad_left, s.pad_right);
  lines = (lines + kLineFloats - 1) / kLineFloats;
  g.channel_floats = checked_mul(lines | 1, kLineFloats, "plane");
  g.positions = (g.out.height - 1) * g.pitch + g.out.width;
  const bool padded = s.pad_top != 0 || s.pad_left != 0 || s.pad_bottom != 0 || s.pad_right != 0;
  g.pointwise = s.kernel_h == 1 && s.kernel_w == 1 && !padded;
  if (g.pointwise) g.channel_floats = kTile;
  return g;
}

void fill_zero(float* first, Index count) { std::fill_n(first, count, 0.0f); }

// Copies channels [first_channel, first_channel + channels) of one image into their planes.
void pack_planes(const Kernels& table, const ConstImages& x, const Conv2dShape& s, const Geometry& g, Index image,
                 Index first_channel, Index channels, float* planes) {
  const float* source = x.data + image * x.stride_n + first_channel * x.stride_c;
  float* target = planes + first_channel * g.channel_floats;
  for (Index phase_h = 0; phase_h < g.phases_h; ++phase_h) {
    const Axis rows = axis(phase_h, s.stride_h, s.pad_top, x.height, g.plane_rows);
    for (Index phase_w = 0; phase_w < g.phases_w; ++phase_w) {
      const Axis cols = axis(phase_w, s.stride_w, s.pad_left, x.width, g.pitch);
      float* phase = target + (phase_h * g.phases_w + phase_w) * g.phase_floats;
      for (Index c = 0; c < channels; ++c) {
        float* plane = phase + c * g.channel_floats;
        fill_zero(plane, rows.begin * g.pitch);
        for (Index row = rows.begin; row < rows.end; ++row) {
          fill_zero(plane + row * g.pitch, cols.begin);
          fill_zero(plane + row * g.pitch + cols.end, g.pitch - cols.end);
        }
        fill_zero(plane + rows.end * g.pitch, (g.plane_rows - rows.end) * g.pitch);
      }
      PackArgs args{};
      args.source =
          source + (rows.begin * s.stride_h + rows.first) * x.stride_h + (cols.begin * s.stride_w + cols.first) * x.stride_w;
      args.column_stride = x.stride_w * s.stride_w;
      args.columns = args.target_columns = cols.end - cols.begin;
      args.target = phase + rows.begin * g.pitch + cols.begin;
      if (args.columns == 0) continue;
      if (x.stride_c == 1) {  // channels_last: channels are rows to transpose
        args.row_stride = 1;
        args.rows = channels;
        args.target_stride = g.channel_floats;
        for (Index row = rows.begin; row < rows.end; ++row) {
          table.panel_pack(args);
          args.source += s.stride_h * x.stride_h;
          args.target += g.pitch;
        }
      } else {
        args.row_stride = x.stride_h * s.stride_h;
        args.rows = rows.end - rows.begin;
        args.target_stride = g.pitch;
        if (args.columns == g.pitch && args.row_stride == g.pitch * args.column_stride) {  // no gaps: one long row
          args.columns = args.target_columns = args.rows * g.pitch;
          args.rows = 1;
        }
        for (Index c = 0; c < channels; ++c) {
          table.panel_pack(args);
          args.source += x.stride_c;
          args.target += g.channel_floats;
        }
      }
    }
  }
  const Index used = g.phase_floats * g.phases_h * g.phases_w;
  for (Index c = 0; c < channels; ++c) fill_zero(target + c * g.channel_floats + used, g.channel_floats - used);
}

// Calls run(image, h, w, columns, place) for each stretch of a panel's columns [first, first + count) that lies in one output
// row, or in one image where its rows follow one another without gaps; `place` is where the stretch begins in the panel.
template <class Run>
void for_each_run(const Geometry& g, bool gaps, Index first, Index count, const Run& run) {
  const Index row = gaps ? g.pitch : g.out.height * g.pitch;
  const Index rows = gaps ? g.out.height : 1;
  const Index used = gaps ? g.out.width : row;
  for (Index p = first; p < first + count;) {
    const Index h = p / row, w = p % row;
    const Index step = std::min(row - w, first + count - p);
    if (w < used) run(h / rows, h % rows, w, std::min(step, used - w), p - first);
    p += step;
  }
}

// Copies channels [first_channel, first_channel + channels) of the columns [first, first + count) of a pointwise product.
void pack_pointwise(const Kernels& table, const ConstImages& x, const Conv2dShape& s, const Geometry& g, Index first_image,
                    Index first, Index count, Index first_channel, Index channels, float* panel) {
  const bool gaps = s.stride_h != 1 || s.stride_w != 1 || x.stride_h != x.width * x.stride_w;
  for_each_run(g, gaps, first, count, [&](Index image, Index h, Index w, Index columns, Index place) {
    table.panel_pack({.source = x.data + (first_image + image) * x.stride_n + first_channel * x.stride_c +
                                h * s.stride_h * x.stride_h + w * s.stride_w * x.stride_w,
                      .row_stride = x.stride_c,
                      .column_stride = s.stride_w * x.stride_w,
                      .rows = channels,
                      .columns = columns,
                      .target = panel + first_channel * kTile + place,
                      .target_stride = kTile,
                      .target_columns = place + columns == count ? kTile - place : columns});
  });
}

// Writes the part of a tile's result that belongs to output rows; what lies between them is dropped.
void unpack_positions(const Kernels& table, const Geometry& g, const float* result, Index rows, Index first_row,
                      Index first_position, Index positions, const Images& y, Index first_image) {
  const bool gaps = g.pitch != g.out.width || y.stride_h != g.pitch * y.stride_w;
  for_each_run(g, gaps, first_position, positions, [&](Index image, Index h, Index w, Index columns, Index place) {
    table.panel_unpack(
        {.source = result + place,
         .source_stride = kTile,
         .rows = rows,
         .columns = columns,
         .target = y.data + (first_image + image) * y.stride_n + first_row * y.stride_c + h * y.stride_h + w * y.stride_w,
         .row_stride = y.stride_c,
         .column_stride = y.stride_w});
  });
}

// Channels whose touched part stays in the L1 cache, as a power of two so that sizes of input share layouts.
Index channels_per_block(const Conv2dShape& s, const Geometry& g, Index channels) {
  if (g.pointwise) return std::min<Index>(128, channels);  // 128 × 64 floats fill the L1 cache
  constexpr Index kBlockFloats = 32 * 1024 / sizeof(float);
  const Index width = std::min(kTile, g.positions);
  const Index phases = g.phases_h * g.phases_w;
  const Index rows_read = (s.kernel_h - 1) * s.dilation_h / s.stride_h;
  const Index cols_read = (s.kernel_w - 1) * s.dilation_w / s.stride_w;
  const Index apart = (rows_read + 1) * (width + cols_read);
  const Index touched = phases * std::min(apart, width + rows_read * g.pitch + cols_read) + kLineFloats;
  Index block = 1;
  while (block * 2 * touched <= kBlockFloats && block < channels) block *= 2;
  return std::min(block, kMaxTaps / (s.kernel_h * s.kernel_w));
}

struct Tables {
  Index block_columns;
  std::vector<std::int64_t> block_bases;
  std::vector<std::int32_t> offsets;
};

Tables tables(const Conv2dShape& s, const Geometry& g, Index channels) {
  const Index block = channels_per_block(s, g, channels);
  check(checked_mul(block, g.channel_floats, "plane") <= std::numeric_limits<std::int32_t>::max(), "a feature map of ",
        g.channel_floats, " padded elements is too large for direct convolution");
  const Index taps = s.kernel_h * s.kernel_w;
  Tables t{block * taps, {}, {}};
  t.offsets.reserve(channels * taps);
  for (Index c = 0; c < channels; ++c) {
    if (c % block == 0) t.block_bases.push_back(c * g.channel_floats);
    for (Index i = 0; i < s.kernel_h; ++i) {
      for (Index j = 0; j < s.kernel_w; ++j) {
        const Index h = i * s.dilation_h, w = j * s.dilation_w;
        const Index phase = h % s.stride_h * g.phases_w + w % s.stride_w;
        t.offsets.push_back(static_cast<std::int32_t>(c % block * g.channel_floats + phase * g.phase_floats +
                                                      h / s.stride_h * g.pitch + w / s.stride_w));
      }
    }
  }
  return t;
}

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
  fill_zero(packed + packed_floats - 2 * kTile, 2 * kTile);
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
