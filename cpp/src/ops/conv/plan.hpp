// Plans for convolutions: pointwise ones are products of panels; the others read planes. Those over volumes are convolutions
// of slices.
#pragma once

#include <memory>

#include "kernels/table.hpp"
#include "ops/conv/planes.hpp"
#include "ops/plan.hpp"
#include "sparse_engine/conv.hpp"
#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

// x and y: shapes and strides, data is null. All arguments have been checked; neither x nor y is empty.
std::shared_ptr<const Plan> plan_conv2d(const Kernels& table, const Matrix& w, const ConstImages& x, const Conv2dParams& s,
                                        const Images& y, bool residual, int threads);

std::shared_ptr<const Plan> plan_conv3d(const Kernels& table, const Matrix& w, const ConstVolumes& x, const Conv3dParams& s,
                                        const Volumes& y, bool residual, int threads);

// k×k: a task packs a band of rows of one image into planes. One channel in and one out of each group: some channels of one.
std::shared_ptr<const Plan> plan_planes(const Kernels& table, const Matrix& w, const ConstImages& x, const Slices& slices,
                                        const Conv2dParams& s, const Images& y, bool residual, int threads);
std::shared_ptr<const Plan> plan_depthwise(const Kernels& table, const Matrix& w, const ConstImages& x, const Conv2dParams& s,
                                           const Images& y, bool residual, int threads);

// A pointwise convolution, whose result nobody reads but the depthwise one behind it: both in one step, as many channels and
// rows at a time as a core's cache holds. Of one that DepthwiseFilter takes, without a residual; planes are contiguous.
struct Expansion {
  const Matrix& weight;
  Epilogue epilogue;  // its bias as long as the plan, no residual
};
std::shared_ptr<const Plan> plan_expanded(const Kernels& table, const Expansion& expansion, const Matrix& w,
                                          const ConstImages& x, const Conv2dParams& s, const Images& y, int threads);

// What a batch, channels in and out and groups must be, over images and volumes; throws std::invalid_argument.
void check_channels(Index batch, Index in, Index out, Index groups);

// How many positions a kernel has along an axis, called `name`; throws std::invalid_argument when the geometry makes no sense.
struct AxisParams {
  Index kernel, stride, before, after, dilation;
};
Index output_length(const AxisParams& axis, Index size, const char* name);

}  // namespace sparse_engine
