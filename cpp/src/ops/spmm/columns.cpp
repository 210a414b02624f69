#include "ops/spmm/columns.hpp"

#include <algorithm>

#include "base/tuning.hpp"

namespace sparse_engine {
namespace {

// Calls run(image, h, w, columns, at) for each stretch of columns [first, first + count) that lies in one row, or in one image
// where its rows follow one another without gaps; `at` columns after the first.
template <class Run>
void for_each_run(const ColumnGrid& g, bool gaps, Index first, Index count, const Run& run) {
  const Index row = gaps ? g.pitch : g.height * g.pitch;
  const Index rows = gaps ? g.height : 1;
  const Index used = gaps ? g.width : row;
  for (Index p = first; p < first + count;) {
    const Index h = p / row, w = p % row;
    const Index step = std::min(row - w, first + count - p);
    if (w < used) run(h / rows, h % rows, w, std::min(step, used - w), p - first);
    p += step;
  }
}

template <class View>
bool has_gaps(const ColumnGrid& g, const View& y) {
  return g.pitch != g.width || y.stride_h != g.pitch * y.stride_w;
}

}  // namespace

void pack_panel(const Kernels& table, const ColumnGrid& g, const ConstImages& x, Index first, Index count, float* panel,
                Index panel_stride) {
  const Index at_once = tuning().pack_channels;
  for (Index channel = 0; channel < x.channels; channel += at_once) {
    for_each_run(g, has_gaps(g, x), first, count, [&](Index image, Index h, Index w, Index columns, Index at) {
      table.panel_pack({.source = x.data + image * x.stride_n + channel * x.stride_c + h * x.stride_h + w * x.stride_w,
                        .row_stride = x.stride_c,
                        .column_stride = x.stride_w,
                        .rows = std::min(at_once, x.channels - channel),
                        .columns = columns,
                        .target = panel + channel * panel_stride + at,
                        .target_stride = panel_stride,
                        .target_columns = at + columns == count ? panel_stride - at : columns});
    });
  }
}

void unpack_result(const Kernels& table, const ColumnGrid& g, const float* result, Index result_pitch, Index channels,
                   Index first, Index count, const Images& y) {
  if (channels == 1 && first == 0 && count == g.columns()) {  // one plane: its rows in one call
    table.panel_unpack({.source = result,
                        .source_stride = g.pitch,
                        .rows = g.height,
                        .columns = g.width,
                        .target = y.data,
                        .row_stride = y.stride_h,
                        .column_stride = y.stride_w});
    return;
  }
  for_each_run(g, has_gaps(g, y), first, count, [&](Index image, Index h, Index w, Index columns, Index at) {
    table.panel_unpack({.source = result + at,
                        .source_stride = result_pitch,
                        .rows = channels,
                        .columns = columns,
                        .target = y.data + image * y.stride_n + h * y.stride_h + w * y.stride_w,
                        .row_stride = y.stride_c,
                        .column_stride = y.stride_w});
  });
}

void pack_result(const Kernels& table, const ColumnGrid& g, const ConstImages& y, Index channels, Index first, Index count,
                 float* result, Index result_pitch) {
  for_each_run(g, has_gaps(g, y), first, count, [&](Index image, Index h, Index w, Index columns, Index at) {
    table.panel_pack({.source = y.data + image * y.stride_n + h * y.stride_h + w * y.stride_w,
                      .row_stride = y.stride_c,
                      .column_stride = y.stride_w,
                      .rows = channels,
                      .columns = columns,
                      .target = result + at,
                      .target_stride = result_pitch,
                      .target_columns = columns});
  });
}

}  // namespace sparse_engine
