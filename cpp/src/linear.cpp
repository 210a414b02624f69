#include "sparse_engine/linear.hpp"

#include <algorithm>
#include <vector>

#include "check.hpp"
#include "parallel.hpp"
#include "registry.hpp"
#include "work.hpp"

namespace sparse_engine {
namespace {

constexpr Index kTile = kTileColumns;

void multiply_one_column(const Matrix& w, const ConstPanel& x, const float* bias, Activation activation, const Panel& y) {
  const float* vector = x.data;
  if (x.row_stride != 1) {
    float* packed = room(Room::packed_input, x.rows);
    kernels().panel_pack({.source = x.data,
                          .row_stride = 0,
                          .column_stride = x.row_stride,
                          .rows = 1,
                          .columns = x.rows,
                          .target = packed,
                          .target_stride = x.rows,
                          .target_columns = x.rows});
    vector = packed;
  }
  const int threads = threads_for(w.nnz() + w.rows());
  const Index shares = threads == 1 ? 1 : threads * 4;
  parallel::parallel_for(shares, threads, [&](Index share, int) {
    w.multiply_vector({.row_begin = w.row_at_share(share, shares),
                       .row_end = w.row_at_share(share + 1, shares),
                       .x = vector,
                       .bias = bias,
                       .activation = activation,
                       .y = y.data,
                       .y_stride = y.row_stride});
  });
}

}  // namespace

void multiply(const Matrix& w, const ConstPanel& x, const float* bias, Activation activation, const Panel& y) {
  check(x.rows == w.cols(), "X has ", x.rows, " rows; a matrix of shape (", w.rows(), ", ", w.cols(), ") needs ", w.cols());
  check(y.rows == w.rows() && y.columns == x.columns, "Y has shape (", y.rows, ", ", y.columns, "); the product needs (",
        w.rows(), ", ", x.columns, ")");
  const Index n = x.columns;
  if (n == 0 || w.rows() == 0) return;
  if (n == 1) return multiply_one_column(w, x, bias, activation, y);

  const Kernels& table = kernels();
  const Index pitch = std::min<Index>(kTile, (n + table.lanes - 1) / table.lanes * table.lanes);
  const Index block = pitch > 16 ? 96 : 384;  // rows of a panel that stay in the L1 cache
  const auto tiles = w.tiles({.group_rows = w.rows(), .block_channels = block, .channel_step = pitch, .taps = {0}});
  const Index panels = (n + kTile - 1) / kTile;
  const Index panel_floats = checked_mul(w.cols(), pitch, "packed input");
  const int threads = threads_for(checked_mul(w.nnz() + w.rows(), n, "work"));
  Index tile_rows = 0;
  for (Index tile = 0; tile < tiles->count(); ++tile)
    tile_rows = std::max(tile_rows, tiles->row_end(tile) - tiles->row_begin(tile));
  float* packed = room(Room::packed_input, checked_mul(panels, panel_floats, "packed input"));
  float* results = room(Room::output_tiles, threads * tile_rows * kTile);

  const auto columns_of = [&](Index panel) { return std::min(kTile, n - panel * kTile); };
  const auto width_of = [&](Index panel) { return (columns_of(panel) + table.lanes - 1) / table.lanes * table.lanes; };

  constexpr Index kPackRows = 256;
  const Index pieces = (w.cols() + kPackRows - 1) / kPackRows;
  parallel::parallel_for(panels * pieces, threads, [&](Index task, int) {
    const Index panel = task / pieces;
    const Index row = task % pieces * kPackRows;
    table.panel_pack({.source = x.data + row * x.row_stride + panel * kTile * x.column_stride,
                      .row_stride = x.row_stride,
                      .column_stride = x.column_stride,
                      .rows = std::min(kPackRows, w.cols() - row),
                      .columns = columns_of(panel),
                      .target = packed + panel * panel_floats + row * pitch,
                      .target_stride = pitch,
                      .target_columns = width_of(panel)});
  });
  parallel::parallel_for(panels * tiles->count(), threads, [&](Index task, int worker) {
    const Index panel = task / tiles->count();
    const Index tile = task % tiles->count();
    float* result = results + worker * tile_rows * kTile;
    float* target = y.data + tiles->row_begin(tile) * y.row_stride + panel * kTile * y.column_stride;
    const bool direct = y.column_stride == 1 && columns_of(panel) == width_of(panel);
    tiles->multiply({.kernels = &table,
                     .tile = tile,
                     .x = packed + panel * panel_floats,
                     .width = width_of(panel),
                     .bias = bias,
                     .activation = activation,
                     .y = direct ? target : result,
                     .y_row_stride = direct ? y.row_stride : kTile,
                     .fetch_y = false,
                     .partial = result});
    if (direct) return;
    table.panel_unpack({.source = result,
                        .source_stride = kTile,
                        .rows = tiles->row_end(tile) - tiles->row_begin(tile),
                        .columns = columns_of(panel),
                        .target = target,
                        .row_stride = y.row_stride,
                        .column_stride = y.column_stride});
  });
}

void linear(const ConstPanel& x, const Matrix& w, const float* bias, Activation activation, const Panel& y) {
  check(x.columns == w.cols(), "x has ", x.columns, " features; a matrix of shape (", w.rows(), ", ", w.cols(), ") needs ",
        w.cols());
  check(y.rows == x.rows && y.columns == w.rows(), "y has shape (", y.rows, ", ", y.columns, "); the product needs (", x.rows,
        ", ", w.rows(), ")");
  multiply(w, {x.data, x.columns, x.rows, x.column_stride, x.row_stride}, bias, activation,
           {y.data, y.columns, y.rows, y.column_stride, y.row_stride});
}

}  // namespace sparse_engine
