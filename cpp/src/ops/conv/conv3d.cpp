#include "sparse_engine/conv.hpp"

#include "base/check.hpp"
#include "base/registry.hpp"
#include "base/workspace.hpp"
#include "ops/conv/plan.hpp"

namespace sparse_engine {
namespace {

void check_arguments(const ConstVolumes& x, const Matrix& w, const Conv3dParams& s, const OutputVolume& out, const Volumes& y) {
  const Conv2dParams& p = s.plane;
  check_channels(x.batch, x.channels, w.rows(), p.groups);
  const Index cells = checked_mul(s.kernel_d, checked_mul(p.kernel_h, p.kernel_w, "kernel"), "kernel");
  const Index cols = checked_mul(x.channels / p.groups, cells, "columns");
  check(w.cols() == cols, "W has ", w.cols(), " columns; ", x.channels, " / ", p.groups, " input channels and a kernel of ",
        s.kernel_d, " × ", p.kernel_h, " × ", p.kernel_w, " need ", cols);
  check(cells <= kMaxTaps, "a kernel of ", s.kernel_d, " × ", p.kernel_h, " × ", p.kernel_w, " has more than ", kMaxTaps,
        " cells; direct convolution does not take it");
  check(y.batch == x.batch && y.channels == w.rows() && y.depth == out.depth && y.height == out.height && y.width == out.width,
        "y has shape (", y.batch, ", ", y.channels, ", ", y.depth, ", ", y.height, ", ", y.width, "); the convolution needs (",
        x.batch, ", ", w.rows(), ", ", out.depth, ", ", out.height, ", ", out.width, ")");
}

}  // namespace

OutputVolume conv3d_output_size(const Conv3dParams& s, Index depth, Index height, Index width) {
  const Index slices = output_length({s.kernel_d, s.stride_d, s.pad_front, s.pad_back, s.dilation_d}, depth, "depth");
  const OutputSize plane = conv2d_output_size(s.plane, height, width);
  return {slices, plane.height, plane.width};
}

void conv3d(const ConstVolumes& x, const Matrix& w, const Conv3dParams& s, const Epilogue& epilogue, const Volumes& y) {
  const OutputVolume out = conv3d_output_size(s, x.depth, x.height, x.width);
  check_arguments(x, w, s, out, y);
  if (x.batch == 0 || w.rows() == 0) return;

  const Kernels& table = kernels();
  const Index positions = checked_mul(checked_mul(out.depth, out.height, "work"), out.width, "work");
  const int threads = threads_for(checked_mul(w.nnz() + w.rows(), checked_mul(positions, x.batch, "work"), "work"));
  const bool residual = epilogue.residual != nullptr;
  const Conv2dParams& p = s.plane;
  const PlanKey key(reinterpret_cast<std::intptr_t>(&table), threads, residual, x.batch, x.channels, x.depth, x.height, x.width,
                    x.stride_n, x.stride_c, x.stride_d, x.stride_h, x.stride_w, y.stride_n, y.stride_c, y.stride_d, y.stride_h,
                    y.stride_w, s.kernel_d, s.stride_d, s.pad_front, s.pad_back, s.dilation_d, p.kernel_h, p.kernel_w,
                    p.stride_h, p.stride_w, p.pad_top, p.pad_left, p.pad_bottom, p.pad_right, p.dilation_h, p.dilation_w,
                    p.groups);
  const auto plan = w.plans().get<Plan>(key, [&] {
    ConstVolumes from = x;
    Volumes to = y;
    from.data = to.data = nullptr;
    return plan_conv3d(table, w, from, s, to, residual, threads);
  });
  const Workspace workspace(plan->workspace_bytes());
  plan->run({x.data, y.data, epilogue}, workspace.data());
}

}  // namespace sparse_engine
