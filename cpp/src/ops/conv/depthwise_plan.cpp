#include <algorithm>

#include "base/check.hpp"
#include "base/tuning.hpp"
#include "ops/conv/depthwise.hpp"
#include "ops/conv/plan.hpp"
#include "ops/spmm/blocks.hpp"
#include "ops/spmm/tiled_output.hpp"

namespace sparse_engine {
namespace {

constexpr Index kSlack = Index{2} * kTileColumns;  // the last tile of the last plane reads up to a tile past its end

// Some channels of an image are a task.
struct Runs {
  explicit Runs(Index all)
      : channels(std::min(all, tuning().depthwise_channels)),
        count((all + tuning().depthwise_channels - 1) / tuning().depthwise_channels) {}
  Index channels, count;
};

// Planes are read where they lie.
class DepthwisePlan final : public Plan {
 public:
  DepthwisePlan(const Kernels& table, const Matrix& w, const ConstImages& x, const Conv2dParams& s, const Images& y,
                int threads)
      : x_(x), y_(y), filter_(table, w, s), runs_(x.channels) {
    cut(Strategy::depthwise, checked_mul(x.batch, runs_.count, "tasks"), threads, 0, 0);
  }

 private:
  void run_one(Index task, const Operands& operands, const float*, float*) const override {
    const Index image = task / runs_.count, first = task % runs_.count * runs_.channels;
    filter_.run(first, std::min(runs_.channels, x_.channels - first),
                {.data = operands.x + image * x_.stride_n + first * x_.stride_c,
                 .channel_stride = x_.stride_c,
                 .stride = x_.stride_h,
                 .first = 0,
                 .count = x_.height},
                x_.width, operands.epilogue,
                {.data = operands.y + image * y_.stride_n + first * y_.stride_c,
                 .channel_stride = y_.stride_c,
                 .stride = y_.stride_h,
                 .first = 0,
                 .rows = y_.height,
                 .columns = y_.width});
  }

  ConstImages x_;
  Images y_;
  DepthwiseFilter filter_;
  Runs runs_;
};

// Of others a row per channel reads its own packed plane, which stays in one piece.
class PackedDepthwisePlan final : public Plan {
 public:
  PackedDepthwisePlan(const Kernels& table, const Matrix& w, const ConstImages& x, const Conv2dParams& s, const Images& y,
                      int threads)
      : table_(table), x_(x), s_(s), g_(geometry(s, {y.height, y.width})), runs_(x.channels) {
    check_reachable(g_.channel_floats, 1);
    output_ =
        TiledOutput(table, w.plans().layouts().tiles(planes_shape(s, g_, 1, 1, w)), g_.grid(), y, TiledOutput::Rows::gaps);
    planes_floats_ = checked_mul(runs_.channels, g_.channel_floats, "packed image");
    cut(Strategy::depthwise, checked_mul(x.batch, runs_.count, "tasks"), threads, 0,
        checked_add(planes_floats_ + kSlack, g_.positions + kSlack, "workspace"));
  }

  const Tiles* tiles() const override { return &output_.tiles(); }

 private:
  void run_one(Index task, const Operands& operands, const float*, float* own) const override {
    const Index image = task / runs_.count, first = task % runs_.count * runs_.channels,
                channels = std::min(runs_.channels, x_.channels - first);
    ConstImages x = x_;
    x.data = operands.x;
    pack_planes(table_, x, s_, g_, image, 0, first, channels, own);
    std::fill_n(own + channels * g_.channel_floats, kSlack, 0.0f);
    const ColumnRange range{.image = image, .first_row = 0, .position = 0, .columns = g_.positions};
    for (Index channel = 0; channel < channels; ++channel)
      output_.multiply(first + channel, own + channel * g_.channel_floats, range, operands, own + planes_floats_ + kSlack);
  }

  const Kernels& table_;
  ConstImages x_;
  Conv2dParams s_;
  Geometry g_;
  TiledOutput output_;
  Runs runs_;
  Index planes_floats_;
};

}  // namespace

std::shared_ptr<const Plan> plan_depthwise(const Kernels& table, const Matrix& w, const ConstImages& x, const Conv2dParams& s,
                                           const Images& y, bool residual, int threads) {
  if (DepthwiseFilter::takes(w, s) && !residual && x.stride_w == 1 && y.stride_w == 1)
    return std::make_shared<DepthwisePlan>(table, w, x, s, y, threads);
  return std::make_shared<PackedDepthwisePlan>(table, w, x, s, y, threads);
}

}  // namespace sparse_engine
