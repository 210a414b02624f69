#include "ops/conv/planes.hpp"

#include <algorithm>
#include <limits>

#include "base/check.hpp"

namespace sparse_engine {
namespace {

constexpr Index kTile = kTileColumns;

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

Index phases_read(Index kernel, Index dilation, Index stride) {
  Index last = 0;
  for (Index tap = 0; tap < std::min(kernel, stride); ++tap) last = std::max(last, tap * dilation % stride);
  return last + 1;
}

}  // namespace

Geometry geometry(const Conv2dShape& s, const OutputSize& out, Rows rows) {
  Geometry g{};
  g.out = out;
  g.phases_h = phases_read(s.kernel_h, s.dilation_h, s.stride_h);
  g.phases_w = phases_read(s.kernel_w, s.dilation_w, s.stride_w);
  g.pitch = checked_add(g.out.width, (s.kernel_w - 1) * s.dilation_w / s.stride_w, "row pitch");
  // At stride 1 the zeros right of a row can be the zeros left of the next, short of where the next row's outputs begin.
  if (s.stride_w == 1) g.pitch -= std::min({s.pad_left, s.pad_right, (s.kernel_w - 1) * s.dilation_w});
  if (rows == Rows::aligned) g.pitch = checked_add(g.pitch, kLineFloats - 1, "row pitch") / kLineFloats * kLineFloats;
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

namespace {

constexpr Index kNarrowPitch = 32;

void fill_zero(float* first, Index count) { std::fill_n(first, count, 0.0f); }

}  // namespace

namespace {

// Some channels at a time, so that a transposition from channels_last stays in the cache.
void pack_channels(const Kernels& table, const ConstImages& x, const Conv2dShape& s, const Geometry& g, const float* source,
                   Index first_row, Index channels, float* target) {
  for (Index phase_h = 0; phase_h < g.phases_h; ++phase_h) {
    const Axis rows = axis(phase_h, s.stride_h, s.pad_top - first_row * s.stride_h, x.height, g.plane_rows);
    for (Index phase_w = 0; phase_w < g.phases_w; ++phase_w) {
      const Axis cols = axis(phase_w, s.stride_w, s.pad_left, x.width, g.pitch);
      float* phase = target + (phase_h * g.phases_w + phase_w) * g.phase_floats;
      for (Index c = 0; c < channels; ++c) {
        float* plane = phase + c * g.channel_floats;
        if (g.pitch <= kNarrowPitch) {  // one call instead of two a row
          fill_zero(plane, g.phase_floats);
          continue;
        }
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

// Whole cache lines of a row of channels, so many that the processor fetches the next ones by itself.
constexpr Index kPackChannels = 64;

}  // namespace

void pack_planes(const Kernels& table, const ConstImages& x, const Conv2dShape& s, const Geometry& g, Index image,
                 Index first_row, Index first_channel, Index channels, float* planes) {
  const float* source = x.data + image * x.stride_n + first_channel * x.stride_c;
  for (Index channel = 0; channel < channels; channel += kPackChannels)
    pack_channels(table, x, s, g, source + channel * x.stride_c, first_row, std::min(kPackChannels, channels - channel),
                  planes + channel * g.channel_floats);
}

namespace {

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

}  // namespace

void pack_pointwise(const Kernels& table, const ConstImages& x, const Conv2dShape& s, const Geometry& g, Index first,
                    Index count, float* panel) {
  const bool gaps = s.stride_h != 1 || s.stride_w != 1 || x.stride_h != x.width * x.stride_w;
  for (Index channel = 0; channel < x.channels; channel += kPackChannels) {
    for_each_run(g, gaps, first, count, [&](Index image, Index h, Index w, Index columns, Index place) {
      table.panel_pack({.source = x.data + image * x.stride_n + channel * x.stride_c + h * s.stride_h * x.stride_h +
                                  w * s.stride_w * x.stride_w,
                        .row_stride = x.stride_c,
                        .column_stride = s.stride_w * x.stride_w,
                        .rows = std::min(kPackChannels, x.channels - channel),
                        .columns = columns,
                        .target = panel + channel * g.channel_floats + place,
                        .target_stride = g.channel_floats,
                        .target_columns = place + columns == count ? g.channel_floats - place : columns});
    });
  }
}

void unpack_positions(const Kernels& table, const Geometry& g, const float* result, Index channels, Index first_position,
                      Index positions, const Images& y) {
  if (channels == 1 && first_position == 0 && positions == g.positions) {  // one plane: its rows in one call
    table.panel_unpack({.source = result,
                        .source_stride = g.pitch,
                        .rows = g.out.height,
                        .columns = g.out.width,
                        .target = y.data,
                        .row_stride = y.stride_h,
                        .column_stride = y.stride_w});
    return;
  }
  const bool gaps = g.pitch != g.out.width || y.stride_h != g.pitch * y.stride_w;
  for_each_run(g, gaps, first_position, positions, [&](Index image, Index h, Index w, Index columns, Index place) {
    table.panel_unpack({.source = result + place,
                        .source_stride = kTile,
                        .rows = channels,
                        .columns = columns,
                        .target = y.data + image * y.stride_n + h * y.stride_h + w * y.stride_w,
                        .row_stride = y.stride_c,
                        .column_stride = y.stride_w});
  });
}

void pack_positions(const Kernels& table, const Geometry& g, const ConstImages& y, Index channels, Index first_position,
                    Index positions, float* result) {
  const bool gaps = g.pitch != g.out.width || y.stride_h != g.pitch * y.stride_w;
  for_each_run(g, gaps, first_position, positions, [&](Index image, Index h, Index w, Index columns, Index place) {
    table.panel_pack({.source = y.data + image * y.stride_n + h * y.stride_h + w * y.stride_w,
                      .row_stride = y.stride_c,
                      .column_stride = y.stride_w,
                      .rows = channels,
                      .columns = columns,
                      .target = result + place,
                      .target_stride = kTile,
                      .target_columns = columns});
  });
}

namespace {

double density_of(const Matrix& w) {
  return static_cast<double>(w.nnz()) / std::max(1.0, static_cast<double>(w.rows()) * static_cast<double>(w.cols()));
}

constexpr double kManyKept = 0.15;  // from here on a row's weights outweigh its sums

// Floats of X that a block of columns touches. They fill the L1 cache; where few weights are stored, a row's sums coming and
// going cost more than its X coming from the L2 cache; and where four rows share a load, the L2 cache is fast enough.
Index block_floats(const Matrix& w) {
  constexpr Index kCacheFloats = 32 * 1024 / sizeof(float);
  if (w.strip_height() == 4) return kCacheFloats * 4;
  const double density = density_of(w);
  // The rest of the cache is for what streams by: weights and sums. Of few rows a block is used too seldom to be loaded that
  // often.
  if (density >= kManyKept && w.rows() >= 512) return kCacheFloats * 3 / 4;
  return density >= 0.07 ? kCacheFloats : density >= 0.03 ? kCacheFloats * 3 / 2 : kCacheFloats * 3;
}

// Channels of a block, for a convolution with planes as a power of two so that sizes of input share layouts.
Index channels_per_block(const Conv2dShape& s, const Geometry& g, Index channels, const Matrix& matrix) {
  const Index floats = block_floats(matrix);
  if (g.pointwise) {
    Index most = floats / std::min(g.channel_floats, kTile);
    // Few weights a row read a third more than the L1 cache holds faster than their sums come and go once more.
    if (channels <= most + most / 3 && density_of(matrix) < kManyKept) most = std::max<Index>(1, channels);
    // About equal blocks: a short last one would cost nearly as much as a long one.
    const Index blocks = std::max<Index>(1, (channels + most - 1) / most);
    return std::max<Index>(1, (channels + blocks - 1) / blocks);
  }
  const Index width = std::min(kTile, g.positions);
  const Index phases = g.phases_h * g.phases_w;
  const Index rows_read = (s.kernel_h - 1) * s.dilation_h / s.stride_h;
  const Index cols_read = (s.kernel_w - 1) * s.dilation_w / s.stride_w;
  const Index apart = (rows_read + 1) * (width + cols_read);
  const Index touched = phases * std::min(apart, width + rows_read * g.pitch + cols_read) + kLineFloats;
  Index block = 1;
  while (block * 2 * touched <= floats && block < channels) block *= 2;
  return std::min(block, kMaxTaps / (s.kernel_h * s.kernel_w));
}

}  // namespace

void check_reachable(const Geometry& g, Index channels) {
  check(checked_mul(channels, g.channel_floats, "plane") <= std::numeric_limits<std::int32_t>::max(), "a feature map of ",
        g.channel_floats, " padded elements is too large for direct convolution");
}

TileShape tile_shape(const Conv2dShape& s, const Geometry& g, Index rows, Index channels, const Matrix& matrix) {
  const Index block = std::max<Index>(1, channels_per_block(s, g, channels, matrix));
  check_reachable(g, block);
  TileShape shape{.group_rows = rows, .block_channels = block, .channel_step = g.channel_floats, .taps = {}};
  shape.taps.reserve(s.kernel_h * s.kernel_w);
  for (Index i = 0; i < s.kernel_h; ++i) {
    for (Index j = 0; j < s.kernel_w; ++j) {
      const Index h = i * s.dilation_h, w = j * s.dilation_w;
      const Index phase = h % s.stride_h * g.phases_w + w % s.stride_w;
      shape.taps.push_back(static_cast<std::int32_t>(phase * g.phase_floats + h / s.stride_h * g.pitch + w / s.stride_w));
    }
  }
  return shape;
}

}  // namespace sparse_engine
