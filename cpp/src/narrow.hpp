// What formats share for narrow products: what a kernel is told, and how rows are cut among threads.
#pragma once

#include <vector>

#include "kernels/table.hpp"
#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

inline NarrowArgs narrow_args(const NarrowJob& job) {
  const Index offset = job.row_begin * job.y_row_stride;
  return {.rows = job.row_end - job.row_begin,
          .columns = job.columns,
          .x = job.x,
          .bias = job.bias ? job.bias + job.row_begin : nullptr,
          .residual = job.residual ? job.residual + offset : nullptr,
          .y = job.y + offset,
          .y_row_stride = job.y_row_stride,
          .y_column_stride = job.y_column_stride,
          .activation = job.activation};
}

// A matrix laid out once more for products with one column.
struct OneColumnLayout {
  virtual ~OneColumnLayout() = default;
  virtual void multiply(const NarrowJob& job) const = 0;  // job.columns == 1
  virtual Index bytes() const = 0;
};

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
