#include "ops/conv/plan.hpp"
#include "ops/spmm/spmm_plan.hpp"

namespace sparse_engine {

bool reads_whole_images(const ConstImages& x, const Conv2dShape& s, const Images& y) {
  const bool covers = s.kernel_h == x.height && s.kernel_w == x.width && y.height == 1 && y.width == 1;
  const bool contiguous = x.stride_w == 1 && x.stride_h == x.width && x.stride_c == x.height * x.width;
  return covers && contiguous && s.groups == 1 && s.dilation_h == 1 && s.dilation_w == 1 && s.pad_top == 0 && s.pad_left == 0;
}

std::shared_ptr<const Plan> plan_whole_images(const Kernels& table, const Matrix& w, const ConstImages& x, const Images& y,
                                              int threads) {
  if (x.batch <= kNarrowColumns)
    return plan_gemv(table, w, {nullptr, w.cols(), x.batch, 1, x.stride_n},
                     {nullptr, w.rows(), x.batch, y.stride_c, y.stride_n}, threads);
  const ConstImages in{nullptr, 1, w.cols(), 1, x.batch, 0, 1, x.batch * x.stride_n, x.stride_n};
  const Images out{nullptr, 1, w.rows(), 1, x.batch, 0, y.stride_c, x.batch * y.stride_n, y.stride_n};
  return plan_panels(table, w, in, 1, out, threads);
}

}  // namespace sparse_engine
