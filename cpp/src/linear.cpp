#include "sparse_engine/linear.hpp"

#include <algorithm>

#include "check.hpp"
#include "parallel.hpp"
#include "registry.hpp"
#include "work.hpp"

namespace sparse_engine {
namespace {

constexpr Index kTile = kTileColumns;

// One to eight columns: every row of W is read once, and nothing but W is worth a thought.
void multiply_narrow(const Matrix& w, const ConstPanel& x, const Epilogue& epilogue, const Panel& y) {
  const Kernels& table = kernels();
  const Index pitch = x.columns == 1 ? 1 : kNarrowColumns;
  const float* packed = x.data;
  if (pitch != 1 || x.row_stride != 1) {
    float* panel = room(Room::packed_input, checked_mul(x.rows, pitch, "packed input"));
    // One column that lies apart is packed as a row.
    const bool one = x.columns == 1;
    table.panel_pack({.source = x.data,
                      .row_stride = one ? 0 : x.row_stride,
                      .column_stride = one ? x.row_stride : x.column_stride,
                      .rows = one ? 1 : x.rows,
                      .columns = one ? x.rows : x.columns,
                      .target = panel,
                      .target_stride = one ? x.rows : pitch,
                      .target_columns = one ? x.rows : pitch});
    packed = panel;
  }
  const int threads = threads_for(checked_mul(w.nnz() + w.rows(), x.columns, "work"));
  const Index shares = threads == 1 ? 1 : threads * 4;
  parallel::parallel_for(shares, threads, [&](Index share, int) {
    w.multiply_narrow({.kernels = &table,
                       .row_begin = w.row_at_share(share, shares),
                       .row_end = w.row_at_share(share + 1, shares),
                       .columns = x.columns,
                       .x = packed,
                       .bias = epilogue.bias,
                       .residual = epilogue.residual,
                       .activation = epilogue.activation,
                       .y = y.data,
                       .y_row_stride = y.row_stride,
                       .y_column_stride = y.column_stride});
  });
}

// X as panels of up to 64 columns, all about as wide: a narrow last one would cost nearly as much as a wide one.
struct Panels {
  Index columns, count, width;

  Panels(Index n, Index lanes) : columns(n), count((n + kTile - 1) / kTile) {
    const Index vectors = (n + lanes - 1) / lanes;
    width = (vectors + count - 1) / count * lanes;
    count = (n + width - 1) / width;
  }
  Index first(Index panel) const { return panel * width; }
  Index columns_of(Index panel) const { return std::min(width, columns - first(panel)); }
  Index width_of(Index panel, Index lanes) const { return (columns_of(panel) + lanes - 1) / lanes * lanes; }
};

}  // namespace

void multiply(const Matrix& w, const ConstPanel& x, const Epilogue& epilogue, const Panel& y) {
  check(x.rows == w.cols(), "X has ", x.rows, " rows; a matrix of shape (", w.rows(), ", ", w.cols(), ") needs ", w.cols());
  check(y.rows == w.rows() && y.columns == x.columns, "Y has shape (", y.rows, ", ", y.columns, "); the product needs (",
        w.rows(), ", ", x.columns, ")");
  const Index n = x.columns;
  if (n == 0 || w.rows() == 0) return;
  if (n <= kNarrowColumns) return multiply_narrow(w, x, epilogue, y);

  const Kernels& table = kernels();
  const Panels panels(n, table.lanes);
  const Index pitch = panels.width;
  const Index block = pitch > 16 ? 96 : 384;  // rows of a panel that stay in the L1 cache
  const auto tiles = w.tiles({.group_rows = w.rows(), .block_channels = block, .channel_step = pitch, .taps = {0}});
  const Index panel_floats = checked_mul(w.cols(), pitch, "packed input");
  const int threads = threads_for(checked_mul(w.nnz() + w.rows(), n, "work"));
  Index tile_rows = 0;
  for (Index tile = 0; tile < tiles->count(); ++tile)
    tile_rows = std::max(tile_rows, tiles->row_end(tile) - tiles->row_begin(tile));
  float* packed = room(Room::packed_input, checked_mul(panels.count, panel_floats, "packed input"));
  float* results = room(Room::output_tiles, threads * tile_rows * kTile);

  constexpr Index kPackRows = 256;
  const Index pieces = (w.cols() + kPackRows - 1) / kPackRows;
  parallel::parallel_for(panels.count * pieces, threads, [&](Index task, int) {
    const Index panel = task / pieces;
    const Index row = task % pieces * kPackRows;
    table.panel_pack({.source = x.data + row * x.row_stride + panels.first(panel) * x.column_stride,
                      .row_stride = x.row_stride,
                      .column_stride = x.column_stride,
                      .rows = std::min(kPackRows, w.cols() - row),
                      .columns = panels.columns_of(panel),
                      .target = packed + panel * panel_floats + row * pitch,
                      .target_stride = pitch,
                      .target_columns = panels.width_of(panel, table.lanes)});
  });
  parallel::parallel_for(panels.count * tiles->count(), threads, [&](Index task, int worker) {
    const Index panel = task / tiles->count(), tile = task % tiles->count();
    const Index rows = tiles->row_end(tile) - tiles->row_begin(tile), columns = panels.columns_of(panel);
    float* result = results + worker * tile_rows * kTile;
    const Index place = tiles->row_begin(tile) * y.row_stride + panels.first(panel) * y.column_stride;
    const float* residual = epilogue.residual ? epilogue.residual + place : nullptr;
    const bool direct = y.column_stride == 1 && columns % table.lanes == 0;
    if (residual && !direct) {
      table.panel_pack({.source = residual,
                        .row_stride = y.row_stride,
                        .column_stride = y.column_stride,
                        .rows = rows,
                        .columns = columns,
                        .target = result,
                        .target_stride = kTile,
                        .target_columns = panels.width_of(panel, table.lanes)});
      residual = result;
    }
    tiles->multiply({.kernels = &table,
                     .tile = tile,
                     .x = packed + panel * panel_floats,
                     .width = panels.width_of(panel, table.lanes),
                     .bias = epilogue.bias,
                     .initial = residual,
                     .initial_row_stride = direct ? y.row_stride : kTile,
                     .activation = epilogue.activation,
                     .y = direct ? y.data + place : result,
                     .y_row_stride = direct ? y.row_stride : kTile,
                     .fetch_y = false,
                     .partial = result});
    if (direct) return;
    table.panel_unpack({.source = result,
                        .source_stride = kTile,
                        .rows = rows,
                        .columns = columns,
                        .target = y.data + place,
                        .row_stride = y.row_stride,
                        .column_stride = y.column_stride});
  });
}

void linear(const ConstPanel& x, const Matrix& w, const Epilogue& epilogue, const Panel& y) {
  check(x.columns == w.cols(), "x has ", x.columns, " features; a matrix of shape (", w.rows(), ", ", w.cols(), ") needs ",
        w.cols());
  check(y.rows == x.rows && y.columns == w.rows(), "y has shape (", y.rows, ", ", y.columns, "); the product needs (", x.rows,
        ", ", w.rows(), ")");
  multiply(w, {x.data, x.columns, x.rows, x.column_stride, x.row_stride}, epilogue,
           {y.data, y.columns, y.rows, y.column_stride, y.row_stride});
}

}  // namespace sparse_engine
