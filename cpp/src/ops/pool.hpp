// Pools over planes.
#pragma once

#include <memory>

#include "kernels/table.hpp"
#include "ops/plan.hpp"

namespace sparse_engine {

struct PoolShape {
  bool maximum;
  Index kernel_h, kernel_w, stride_h, stride_w;
  Index pad_top, pad_left, pad_bottom, pad_right;
  bool counts_padding;  // an average divides by the cells of its window that lie in the padding too
};

// Height and width of the result. Throws std::invalid_argument for windows that make no sense.
Index pooled_size(Index size, Index kernel, Index stride, Index before, Index after);

// x and y without data; rows of both are contiguous (stride_w = 1).
std::shared_ptr<const Plan> plan_pool(const Kernels& table, const ConstImages& x, const PoolShape& shape, const Images& y,
                                      int threads);

// Window i of n over s cells is [⌊i·s/n⌋, ⌈(i + 1)·s/n⌉): together they cover all. Planes as above, of at least one cell.
std::shared_ptr<const Plan> plan_adaptive_pool(const Kernels& table, bool maximum, const ConstImages& x, const Images& y,
                                               int threads);

}  // namespace sparse_engine
