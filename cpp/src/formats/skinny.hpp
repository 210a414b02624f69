// What formats share for skinny products: what a kernel is told, and how rows are cut among threads.
#pragma once

#include <vector>

#include "base/check.hpp"
#include "formats/matrix_impl.hpp"
#include "kernels/table.hpp"

namespace sparse_engine {

// `scales`: of all rows of the matrix, or null.
inline SkinnyArgs skinny_args(const SkinnyJob& job, const float* scales = nullptr) {
  const Index offset = job.row_begin * job.y_row_stride;
  return {.rows = job.row_end - job.row_begin,
          .columns = job.columns,
          .x = job.x,
          .bias = job.bias ? job.bias + job.row_begin : nullptr,
          .residual = job.residual ? job.residual + offset : nullptr,
          .y = job.y + offset,
          .y_row_stride = job.y_row_stride,
          .y_column_stride = job.y_column_stride,
          .activation = job.activation,
          .scales = scales ? scales + job.row_begin : nullptr};
}

// Where the elements of X lie in the panel of a skinny product.
struct SkinnyStrides {
  Index row, column;
  Index floats;  // of the whole panel
};

inline SkinnyStrides skinny_strides(SkinnyOrder order, Index rows, Index columns) {
  if (columns == 1) return {1, rows, rows};
  if (order == SkinnyOrder::rows) return {kSkinnyColumns, 1, checked_mul(rows, kSkinnyColumns, "packed input")};
  // An odd number of cache lines apart, so that no two columns meet in a set of the L1 cache.
  const Index apart = ((rows + kLineFloats - 1) / kLineFloats | 1) * kLineFloats;
  return {1, apart, checked_mul(apart, columns, "packed input")};
}

// First row at which at least `share` of `shares` of the work lies before it; row r's stored weights begin at starts[r].
inline Index start_at_share(const std::vector<Index>& starts, Index share, Index shares) {
  const Index rows = static_cast<Index>(starts.size()) - 1;
  if (share >= shares) return rows;
  // Rows cost something even when empty, so both count.
  const auto target = static_cast<double>(starts.back() + rows) * static_cast<double>(share) / static_cast<double>(shares);
  Index low = 0, high = rows;
  while (low < high) {
    const Index middle = low + (high - low) / 2;
    if (static_cast<double>(starts[middle] + middle) < target) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace sparse_engine
