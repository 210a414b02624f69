#include "sparse_engine/linear.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/parallel.hpp"
#include "base/registry.hpp"
#include "base/workspace.hpp"
#include "formats/narrow.hpp"
#include "ops/spmm/parts.hpp"

namespace sparse_engine {
namespace {

// One to eight columns: every row of W is read once, and nothing but W is worth a thought.
void multiply_narrow(const Matrix& w, const ConstPanel& x, const Epilogue& epilogue, const Panel& y) {
  const Kernels& table = kernels();
  const NarrowStrides strides = narrow_strides(w.prepare_narrow(table, x.columns), x.rows, x.columns);
  const float* packed = x.data;
  if (x.columns != 1 || x.row_stride != 1) {
    float* panel = room(Room::packed_input, strides.floats);
    const bool by_column = strides.row == 1;
    table.panel_pack({.source = x.data,
                      .row_stride = by_column ? x.column_stride : x.row_stride,
                      .column_stride = by_column ? x.row_stride : x.column_stride,
                      .rows = by_column ? x.columns : x.rows,
                      .columns = by_column ? x.rows : x.columns,
                      .target = panel,
                      .target_stride = by_column ? strides.column : strides.row,
                      .target_columns = by_column ? x.rows : kNarrowColumns});
    packed = panel;
  }
  const int threads = threads_for(checked_mul(w.nnz() + w.rows(), std::max(x.columns, kColumnsWorth), "work"));
  const Index shares = threads == 1 ? 1 : threads * 4;
  parallel::parallel_for(shares, threads, [&](Index share, int) {
    w.multiply_narrow({.kernels = &table,
                       .row_begin = w.row_at_share(share, shares),
                       .row_end = w.row_at_share(share + 1, shares),
                       .columns = x.columns,
                       .x = packed,
                       .x_stride = strides.column,
                       .bias = epilogue.bias,
                       .residual = epilogue.residual,
                       .activation = epilogue.activation,
                       .y = y.data,
                       .y_row_stride = y.row_stride,
                       .y_column_stride = y.column_stride});
  });
}

}  // namespace

void multiply(const Matrix& w, const ConstPanel& x, const Epilogue& epilogue, const Panel& y) {
  check(x.rows == w.cols(), "X has ", x.rows, " rows; a matrix of shape (", w.rows(), ", ", w.cols(), ") needs ", w.cols());
  check(y.rows == w.rows() && y.columns == x.columns, "Y has shape (", y.rows, ", ", y.columns, "); the product needs (",
        w.rows(), ", ", x.columns, ")");
  const Index n = x.columns;
  if (n == 0 || w.rows() == 0) return;
  if (n <= kNarrowColumns) return multiply_narrow(w, x, epilogue, y);

  // One image, one pixel high.
  const Conv2dShape pointwise{.kernel_h = 1, .kernel_w = 1};
  const ConstImages in{x.data, 1, x.rows, 1, n, 0, x.row_stride, n * x.column_stride, x.column_stride};
  const Images out{y.data, 1, y.rows, 1, n, 0, y.row_stride, n * y.column_stride, y.column_stride};
  multiply_in_parts(in, w, pointwise, geometry(pointwise, {1, n}), epilogue, out);
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
