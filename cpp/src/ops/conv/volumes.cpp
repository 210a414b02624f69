// A convolution over volumes as convolutions over images. Its columns are ordered (channel, kd, kh, kw), so it is that of
// images with channels · kd channels, one image for each slice of the result, whose channels are those of the kd slices it
// reads.
#include <algorithm>

#include "base/check.hpp"
#include "base/tuning.hpp"
#include "ops/conv/plan.hpp"

namespace sparse_engine {
namespace {

// The plan of one volume, for a batch of them.
class VolumesPlan final : public Plan {
 public:
  VolumesPlan(std::shared_ptr<const Plan> volume, Index batch, Index x_step, Index y_step, int threads)
      : volume_(std::move(volume)), x_step_(x_step), y_step_(y_step) {
    cut(volume_->strategy(), checked_mul(batch, volume_->tasks(), "tasks"), threads, 0,
        volume_->worker_bytes() / static_cast<Index>(sizeof(float)));
  }

  const Tiles* tiles() const override { return volume_->tiles(); }

 private:
  void run_one(Index task, const Operands& operands, const float*, float* own) const override {
    const Index n = task / volume_->tasks();
    Operands moved = operands;
    moved.x += n * x_step_;
    moved.y += n * y_step_;
    if (moved.epilogue.residual != nullptr) moved.epilogue.residual += n * y_step_;
    volume_->run_task(task % volume_->tasks(), moved, own, volume_->own_part(own, 0));
  }

  std::shared_ptr<const Plan> volume_;  // whose tasks share nothing
  Index x_step_, y_step_;
};

std::shared_ptr<const Plan> of_each(std::shared_ptr<const Plan> volume, const ConstVolumes& x, const Volumes& y, int threads) {
  if (x.batch == 1) return volume;
  return std::make_shared<VolumesPlan>(std::move(volume), x.batch, x.stride_n, y.stride_n, threads);
}

template <class View>
bool rows_follow(const View& v) {
  return v.height == 1 || v.stride_h == v.width * v.stride_w;
}

// Whether the kernel reads along depth alone: a slice is then one row of an image as high as the volume is deep.
bool reads_along_depth(const ConstVolumes& x, const Conv2dParams& s, const Volumes& y) {
  const bool one = s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1;
  const bool padded = s.pad_top != 0 || s.pad_left != 0 || s.pad_bottom != 0 || s.pad_right != 0;
  return one && !padded && rows_follow(x) && rows_follow(y);
}

// How many rows of a slice one image takes, side by side: as many as keep its planes in the L2 cache, so that each cell is
// packed once. Fewer columns than fill a panel are not worth that.
Index rows_side_by_side(const ConstVolumes& x, const Conv3dParams& s, const Volumes& y) {
  constexpr Index kLeastColumns = Index{kTileColumns} / 4 * 3;
  const Index cells = checked_mul(x.channels, y.depth * std::min(s.stride_d, s.kernel_d) + s.kernel_d, "planes");
  const Index most = tuning().band_bytes / static_cast<Index>(sizeof(float)) / std::max<Index>(1, cells);
  Index found = y.height;
  for (Index rows = y.height; rows >= 1 && rows * y.width >= kLeastColumns; --rows) {
    if (y.height % rows != 0) continue;
    found = rows;
    if (rows * y.width <= most) break;
  }
  return found;
}

// Images as high as the volumes are deep, `rows` of each slice wide; of one volume where they are several.
template <class Images, class View>
Images upright(const View& v, Index rows) {
  const Index parts = v.height / rows;
  return {nullptr,        parts == 1 ? v.batch : parts,
          v.channels,     v.depth,
          rows * v.width, parts == 1 ? v.stride_n : rows * v.stride_h,
          v.stride_c,     v.stride_d,
          v.stride_w};
}

}  // namespace

std::shared_ptr<const Plan> plan_conv3d(const Kernels& table, const Matrix& w, const ConstVolumes& x, const Conv3dParams& s,
                                        const Volumes& y, bool residual, int threads) {
  // With a volume for every thread none is shared, and each of them is cut as one thread needs it.
  const int inner = evenly(x.batch, threads) ? 1 : threads;
  if (reads_along_depth(x, s.plane, y)) {
    const Conv2dParams along{.kernel_h = s.kernel_d,
                             .kernel_w = 1,
                             .stride_h = s.stride_d,
                             .pad_top = s.pad_front,
                             .pad_bottom = s.pad_back,
                             .dilation_h = s.dilation_d,
                             .groups = s.plane.groups};
    const Index rows = s.kernel_d == 1 ? y.height : rows_side_by_side(x, s, y);
    const auto from = upright<ConstImages>(x, rows);
    const auto to = upright<Images>(y, rows);
    if (rows == y.height) return plan_conv2d(table, w, from, along, to, residual, threads);
    return of_each(plan_conv2d(table, w, from, along, to, residual, inner), x, y, threads);
  }
  const Images to{nullptr, y.depth, y.channels, y.height, y.width, y.stride_d, y.stride_c, y.stride_h, y.stride_w};
  ConstImages from{nullptr, y.depth, x.channels, x.height, x.width, x.stride_d, x.stride_c, x.stride_h, x.stride_w};
  std::shared_ptr<const Plan> volume;
  if (s.kernel_d == 1 && s.pad_front == 0 && s.pad_back == 0) {
    from.stride_n *= s.stride_d;
    volume = plan_conv2d(table, w, from, s.plane, to, residual, inner);
  } else {
    from.channels = checked_mul(x.channels, s.kernel_d, "channels");
    const Slices slices{
        .taps = s.kernel_d, .stride = s.stride_d, .dilation = s.dilation_d, .before = s.pad_front, .count = x.depth};
    volume = plan_planes(table, w, from, slices, s.plane, to, residual, inner);
  }
  return of_each(std::move(volume), x, y, threads);
}

}  // namespace sparse_engine
