// Plans for convolutions: pointwise ones are products of panels; the others read planes.
#pragma once

#include <memory>

#include "kernels/table.hpp"
#include "ops/conv/planes.hpp"
#include "ops/spmm/plan.hpp"
#include "sparse_engine/conv.hpp"
#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

// x and y: shapes and strides, data is null. All arguments have been checked; neither x nor y is empty.
std::shared_ptr<const Plan> plan_conv2d(const Kernels& table, const Matrix& w, const ConstImages& x, const Conv2dShape& s,
                                        const Images& y, bool residual, int threads);

// k×k: a task packs a band of rows of one image into planes. One channel in and one out of each group: some channels of one.
std::shared_ptr<const Plan> plan_planes(const Kernels& table, const Matrix& w, const ConstImages& x, const Conv2dShape& s,
                                        const Images& y, bool residual, int threads);
std::shared_ptr<const Plan> plan_depthwise(const Kernels& table, const Matrix& w, const ConstImages& x, const Conv2dShape& s,
                                           const Images& y, int threads);

}  // namespace sparse_engine
