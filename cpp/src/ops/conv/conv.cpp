#include "sparse_engine/conv.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/registry.hpp"
#include "base/workspace.hpp"
#include "ops/conv/plan.hpp"

namespace sparse_engine {
namespace {

void check_arguments(const ConstImages& x, const Matrix& w, const Conv2dParams& s, const OutputSize& out, const Images& y) {
  check_channels(x.batch, x.channels, w.rows(), s.groups);
  const Index cols = checked_mul(x.channels / s.groups, checked_mul(s.kernel_h, s.kernel_w, "kernel"), "columns");
  check(w.cols() == cols, "W has ", w.cols(), " columns; ", x.channels, " / ", s.groups, " input channels and a kernel of ",
        s.kernel_h, " × ", s.kernel_w, " need ", cols);
  check(s.kernel_h * s.kernel_w <= kMaxTaps, "a kernel of ", s.kernel_h, " × ", s.kernel_w, " has more than ", kMaxTaps,
        " cells; direct convolution does not take it");
  check(y.batch == x.batch && y.channels == w.rows() && y.height == out.height && y.width == out.width, "y has shape (",
        y.batch, ", ", y.channels, ", ", y.height, ", ", y.width, "); the convolution needs (", x.batch, ", ", w.rows(), ", ",
        out.height, ", ", out.width, ")");
}

}  // namespace

void check_channels(Index batch, Index in, Index out, Index groups) {
  check(batch >= 0, "x has a batch of ", batch, "; it must not be negative");
  check(groups >= 1, "groups = ", groups, "; it must be at least 1");
  check(in % groups == 0, "groups = ", groups, " does not divide the ", in, " input channels");
  check(out % groups == 0, "groups = ", groups, " does not divide the ", out, " output channels");
}

Index output_length(const AxisParams& a, Index size, const char* name) {
  check(a.kernel >= 1, "kernel ", name, " = ", a.kernel, "; it must be at least 1");
  check(a.stride >= 1, "stride ", name, " = ", a.stride, "; it must be at least 1");
  check(a.dilation >= 1, "dilation ", name, " = ", a.dilation, "; it must be at least 1");
  check(a.before >= 0 && a.after >= 0, "padding ", name, " = ", std::min(a.before, a.after), "; it must not be negative");
  check(size >= 0, "input ", name, " = ", size, "; it must not be negative");
  const Index padded = checked_add(checked_add(size, a.before, "padded input"), a.after, "padded input");
  const Index reach = checked_add(checked_mul(a.dilation, a.kernel - 1, "kernel"), 1, "kernel");
  check(reach <= padded, "the kernel reaches over ", reach, " cells in ", name, " but the padded input has ", padded);
  return (padded - reach) / a.stride + 1;
}

OutputSize conv2d_output_size(const Conv2dParams& s, Index height, Index width) {
  return {output_length({s.kernel_h, s.stride_h, s.pad_top, s.pad_bottom, s.dilation_h}, height, "height"),
          output_length({s.kernel_w, s.stride_w, s.pad_left, s.pad_right, s.dilation_w}, width, "width")};
}

void conv2d(const ConstImages& x, const Matrix& w, const Conv2dParams& s, const Epilogue& epilogue, const Images& y) {
  const OutputSize out = conv2d_output_size(s, x.height, x.width);
  check_arguments(x, w, s, out, y);
  const Geometry g = geometry(s, out);
  if (x.batch == 0 || w.rows() == 0) return;

  const Kernels& table = kernels();
  const int threads = threads_for(checked_mul(w.nnz() + w.rows(), checked_mul(g.positions, x.batch, "work"), "work"));
  const bool residual = epilogue.residual != nullptr;
  const PlanKey key(reinterpret_cast<std::intptr_t>(&table), threads, residual, x.batch, x.channels, x.height, x.width,
                    x.stride_n, x.stride_c, x.stride_h, x.stride_w, y.stride_n, y.stride_c, y.stride_h, y.stride_w, s.kernel_h,
                    s.kernel_w, s.stride_h, s.stride_w, s.pad_top, s.pad_left, s.pad_bottom, s.pad_right, s.dilation_h,
                    s.dilation_w, s.groups);
  const auto plan = w.plans().get<Plan>(key, [&] {
    ConstImages from = x;
    Images to = y;
    from.data = to.data = nullptr;
    return plan_conv2d(table, w, from, s, to, residual, threads);
  });
  const Workspace workspace(plan->workspace_bytes());
  plan->run({x.data, y.data, epilogue}, workspace.data());
}

}  // namespace sparse_engine
