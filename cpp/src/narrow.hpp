// From what an operation asks of a format to what every narrow kernel is told.
#pragma once

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

}  // namespace sparse_engine
