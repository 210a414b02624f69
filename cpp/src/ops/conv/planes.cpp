#include "ops/conv/planes.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/tuning.hpp"
#include "ops/plan.hpp"
#include "ops/spmm/blocks.hpp"

namespace sparse_engine {
namespace {

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

bool is_pointwise(const Conv2dParams& s) {
  const bool padded = s.pad_top != 0 || s.pad_left != 0 || s.pad_bottom != 0 || s.pad_right != 0;
  return s.kernel_h == 1 && s.kernel_w == 1 && !padded;
}

Geometry geometry(const Conv2dParams& s, const OutputSize& out, Rows rows) {
  Geometry g{};
  g.out = out;
  g.phases_h = phases_read(s.kernel_h, s.dilation_h, s.stride_h);
  g.phases_w = phases_read(s.kernel_w, s.dilation_w, s.stride_w);
  g.pitch = checked_add(g.out.width, (s.kernel_w - 1) * s.dilation_w / s.stride_w, "row pitch");
  // At stride 1 the zeros right of a row can be the zeros left of the next, short of where the next row's outputs begin.
  if (s.stride_w == 1) g.pitch -= std::min({s.pad_left, s.pad_right, (s.kernel_w - 1) * s.dilation_w});
  if (rows == Rows::aligned) g.pitch = whole_lines(g.pitch, "row pitch");
  g.plane_rows = checked_add(g.out.height, (s.kernel_h - 1) * s.dilation_h / s.stride_h, "plane rows");
  g.phase_floats = checked_mul(g.pitch, g.plane_rows, "plane");
  // Room for the shared zeros of the last row; then an odd number of cache lines, so that channels spread over all cache sets.
  Index lines = checked_mul(g.phase_floats, g.phases_h * g.phases_w, "plane") + std::min(s.pad_left, s.pad_right);
  lines = (lines + kLineFloats - 1) / kLineFloats;
  g.channel_floats = checked_mul(lines | 1, kLineFloats, "plane");
  g.positions = (g.out.height - 1) * g.pitch + g.out.width;
  g.pointwise = is_pointwise(s);
  return g;
}

namespace {

void fill_zero(float* first, Index count) { std::fill_n(first, count, 0.0f); }

// Some channels at a time, so that a transposition from channels_last stays in the cache.
void pack_channels(const Kernels& table, const ConstImages& x, const Conv2dParams& s, const Geometry& g, const float* source,
                   Index first_row, Index channels, float* target, Index target_step) {
  const bool zeroed_whole = g.pitch <= tuning().zeroed_pitch;
  for (Index phase_h = 0; phase_h < g.phases_h; ++phase_h) {
    const Axis rows = axis(phase_h, s.stride_h, s.pad_top - first_row * s.stride_h, x.height, g.plane_rows);
    for (Index phase_w = 0; phase_w < g.phases_w; ++phase_w) {
      const Axis cols = axis(phase_w, s.stride_w, s.pad_left, x.width, g.pitch);
      float* phase = target + (phase_h * g.phases_w + phase_w) * g.phase_floats;
      for (Index c = 0; c < channels; ++c) {
        float* plane = phase + c * target_step;
        if (zeroed_whole) {  // one call instead of two a row
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
        args.target_stride = target_step;
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
          args.target += target_step;
        }
      }
    }
  }
  const Index used = g.phase_floats * g.phases_h * g.phases_w;
  for (Index c = 0; c < channels; ++c) fill_zero(target + c * target_step + used, g.channel_floats - used);
}

// Channels one after another, whose planes are target_step apart.
void pack_maps(const Kernels& table, const ConstImages& x, const Conv2dParams& s, const Geometry& g, const float* source,
               Index first_row, Index channels, float* target, Index target_step) {
  const Index at_once = tuning().pack_channels;
  for (Index channel = 0; channel < channels; channel += at_once)
    pack_channels(table, x, s, g, source + channel * x.stride_c, first_row, std::min(at_once, channels - channel),
                  target + channel * target_step, target_step);
}

}  // namespace

void pack_slices(const Kernels& table, const ConstImages& x, const Slices& slices, const Conv2dParams& s, const Geometry& g,
                 Index image, Index first_row, float* planes) {
  const Index channels = x.channels / slices.taps, step = slices.taps * g.channel_floats;
  for (Index tap = 0; tap < slices.taps; ++tap) {
    const Index slice = image * slices.stride + tap * slices.dilation - slices.before;
    float* target = planes + tap * g.channel_floats;
    if (slice >= 0 && slice < slices.count) {
      pack_maps(table, x, s, g, x.data + slice * x.stride_n, first_row, channels, target, step);
    } else {
      for (Index channel = 0; channel < channels; ++channel) fill_zero(target + channel * step, g.channel_floats);
    }
  }
}

void pack_planes(const Kernels& table, const ConstImages& x, const Conv2dParams& s, const Geometry& g, Index image,
                 Index first_row, Index first_channel, Index channels, float* planes) {
  pack_maps(table, x, s, g, x.data + image * x.stride_n + first_channel * x.stride_c, first_row, channels, planes,
            g.channel_floats);
}

namespace {

// Channels of a block: a power of two, so that sizes of input share layouts.
Index channels_per_block(const Conv2dParams& s, const Geometry& g, Index channels, const Matrix& w, Index tile_columns) {
  const Index floats = block_floats(w);
  const Index width = std::min(tile_columns, g.positions);
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

TileShape planes_shape(const Conv2dParams& s, const Geometry& g, Index rows, Index channels, const Matrix& w,
                       Index tile_columns) {
  const Index block = std::max<Index>(1, channels_per_block(s, g, channels, w, tile_columns));
  check_reachable(g.channel_floats, block);
  TileShape shape{.group_rows = rows, .block_channels = block, .channel_step = g.channel_floats, .taps = {}};
  shape.taps.reserve(s.kernel_h * s.kernel_w);
  for (Index i = 0; i < s.kernel_h; ++i) {
    for (Index j = 0; j < s.kernel_w; ++j) {
      const Index down = i * s.dilation_h, right = j * s.dilation_w;
      const Index phase = down % s.stride_h * g.phases_w + right % s.stride_w;
      const Index cell = down / s.stride_h * g.pitch + right / s.stride_w;
      shape.taps.push_back(static_cast<std::int32_t>(phase * g.phase_floats + cell));
    }
  }
  return shape;
}

TileShape copied_shape(const Conv2dParams& s, Index rows, Index channels, Index tile_columns) {
  const Index taps = s.kernel_h * s.kernel_w;
  const Index most = std::max<Index>(1, tuning().block_floats * 3 / 4 / (taps * tile_columns));
  TileShape shape{
      .group_rows = rows, .block_channels = std::min(most, channels), .channel_step = taps * tile_columns, .taps = {}};
  check_reachable(shape.channel_step, shape.block_channels);
  for (Index tap = 0; tap < taps; ++tap) shape.taps.push_back(static_cast<std::int32_t>(tap * tile_columns));
  return shape;
}

}  // namespace sparse_engine
