#include "ops/conv/plan.hpp"

#include "ops/spmm/spmm_plan.hpp"

namespace sparse_engine {

std::shared_ptr<const Plan> plan_conv2d(const Kernels& table, const Matrix& w, const ConstImages& x, const Conv2dParams& s,
                                        const Images& y, bool residual, int threads) {
  if (geometry(s, {y.height, y.width}).pointwise) {
    // A stride leaves pixels out: x is as large as y, its pixels further apart.
    const ConstImages read{nullptr,
                           x.batch,
                           x.channels,
                           y.height,
                           y.width,
                           x.stride_n,
                           x.stride_c,
                           s.stride_h * x.stride_h,
                           s.stride_w * x.stride_w};
    return plan_panels(table, w, read, s.groups, y, threads);
  }
  if (x.channels == s.groups && w.rows() == s.groups) return plan_depthwise(table, w, x, s, y, residual, threads);
  return plan_planes(table, w, x, {}, s, y, residual, threads);
}

}  // namespace sparse_engine
