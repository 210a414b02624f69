#include <algorithm>

#include "base/check.hpp"
#include "base/tuning.hpp"
#include "ops/conv/depthwise.hpp"
#include "ops/conv/plan.hpp"
#include "ops/spmm/blocks.hpp"
#include "ops/spmm/columns.hpp"

namespace sparse_engine {
namespace {

Index rounded(Index count, Index step) { return (count + step - 1) / step * step; }

// A task is a band of output rows and some of the channels. It packs the rows of X that these rows read, and then takes a few
// channels at a time: expands them and filters them, all in the cache of one core.
class ExpandedPlan final : public Plan {
 public:
  ExpandedPlan(const Kernels& table, const Expansion& e, const Matrix& w, const ConstImages& x, const Conv2dParams& s,
               const Images& y, int threads)
      : table_(table), epilogue_(e.epilogue), x_(x), s_(s), y_(y), filter_(table, w, s) {
    channels_ = e.weight.rows();
    group_ = std::min(channels_, tuning().depthwise_channels);
    groups_ = (channels_ + group_ - 1) / group_;
    cut_into_bands(threads);
    // As wide as a row's sums fit the registers, where one block of columns is all of them.
    const Index widest = widest_tile(table);
    const TileShape wide = panel_shape(e.weight, group_, x.channels, widest);
    panel_ = x.channels * widest <= tuning().block_floats && wide.block_channels >= x.channels ? widest : kTileColumns;
    expand_ = e.weight.plans().layouts().tiles(panel_ == widest ? wide : panel_shape(e.weight, group_, x.channels, panel_));
    const Index columns = rows_read(rows_) * x.width;
    const Index panels = rounded(columns, panel_);
    packed_floats_ = checked_mul(x.channels, panels, "packed band");
    expanded_pitch_ = (panels / kLineFloats | 1) * kLineFloats;
    expanded_floats_ = checked_mul(group_, expanded_pitch_, "expanded band");
    cut(Strategy::expanded, checked_mul(checked_mul(x.batch, bands_, "bands"), splits_, "tasks"), threads, 0,
        checked_add(checked_add(packed_floats_, expanded_floats_, "workspace"), group_ * kTileColumns, "workspace"));
  }

  const Tiles* tiles() const override { return expand_.get(); }

 private:
  // Input rows that so many output rows read.
  Index rows_read(Index rows) const {
    return std::min(x_.height, (rows - 1) * s_.stride_h + (s_.kernel_h - 1) * s_.dilation_h + 1);
  }

  // As few as keep what a task works on in the L2 cache; where that is one, threads share its channels.
  void cut_into_bands(int threads) {
    const Index budget = tuning().band_bytes / static_cast<Index>(sizeof(float));
    const Index row_floats = std::max<Index>(1, x_.width * (x_.channels + group_));
    const Index halo = std::max<Index>(0, (s_.kernel_h - 1) * s_.dilation_h + 1 - s_.stride_h);
    // Rows of the halo are expanded for both bands that read them.
    const Index least = std::min(y_.height, (4 * halo + s_.stride_h - 1) / s_.stride_h);
    rows_ = y_.height;
    if (row_floats * x_.height > budget)
      rows_ = std::max((budget / row_floats - halo) / s_.stride_h, std::max<Index>(1, least));
    rows_ = std::clamp<Index>(rows_, 1, y_.height);
    bands_ = (y_.height + rows_ - 1) / rows_;
    if (bands_ > 1 && !evenly(x_.batch * bands_, threads)) bands_ = std::min(y_.height, rounded(bands_, threads));
    rows_ = (y_.height + bands_ - 1) / bands_;
    bands_ = (y_.height + rows_ - 1) / rows_;
    splits_ = evenly(x_.batch * bands_, threads) ? 1 : std::min<Index>(threads, groups_);
  }

  void run_one(Index task, const Operands& operands, const float*, float* own) const override {
    const Index band = task / splits_, split = task % splits_, image = band / bands_;
    const Index first_row = band % bands_ * rows_, rows = std::min(rows_, y_.height - first_row);
    const Index begin = std::clamp<Index>(first_row * s_.stride_h - s_.pad_top, 0, x_.height);
    const Index end = std::clamp<Index>(
        (first_row + rows - 1) * s_.stride_h - s_.pad_top + (s_.kernel_h - 1) * s_.dilation_h + 1, begin, x_.height);
    ConstImages x = x_;
    x.data = operands.x + image * x.stride_n + begin * x.stride_h;
    x.batch = 1;
    x.height = end - begin;
    const ColumnGrid grid{x.height, x.width, x.width};
    const Index columns = x.height * x.width;
    float *const expanded = own + packed_floats_, *const partial = expanded + expanded_floats_;
    for (Index first = 0; first < columns; first += panel_)
      pack_panel(table_, grid, x, first, std::min<Index>(panel_, columns - first), own + first * x.channels, panel_);
    for (Index group = groups_ * split / splits_; group < groups_ * (split + 1) / splits_; ++group) {
      const Index first = group * group_, channels = std::min(group_, channels_ - first);
      expand(group, columns, x.channels, own, expanded, partial);
      filter_.run(first, channels,
                  {.data = expanded, .channel_stride = expanded_pitch_, .stride = x.width, .first = begin, .count = x.height},
                  x.width, operands.epilogue,
                  {.data = operands.y + image * y_.stride_n + first * y_.stride_c + first_row * y_.stride_h,
                   .channel_stride = y_.stride_c,
                   .stride = y_.stride_h,
                   .first = first_row,
                   .rows = rows,
                   .columns = y_.width});
    }
  }

  void expand(Index group, Index columns, Index channels, const float* packed, float* expanded, float* partial) const {
    for (Index first = 0; first < columns; first += panel_) {
      const Index count = std::min<Index>(panel_, columns - first);
      expand_->multiply({.kernels = &table_,
                         .tile = group,
                         .x = packed + first * channels,
                         .width = rounded(count, table_.lanes),
                         .bias = epilogue_.bias,
                         .initial = nullptr,
                         .initial_row_stride = 0,
                         .activation = epilogue_.activation,
                         .y = expanded + first,
                         .y_row_stride = expanded_pitch_,
                         .fetch_y = false,
                         .stream_y = false,
                         .places = nullptr,
                         .first_block = 0,
                         .end_block = expand_->blocks(),
                         .partial = partial,
                         .partial_row_stride = kTileColumns});
    }
  }

  const Kernels& table_;
  Epilogue epilogue_;  // of the expansion
  ConstImages x_;
  Conv2dParams s_;
  Images y_;
  std::shared_ptr<const Tiles> expand_;  // a tile for each group of channels
  DepthwiseFilter filter_;
  Index channels_, group_, groups_;  // all, those taken at a time, and how often
  Index rows_ = 1, bands_ = 1, splits_ = 1;
  Index panel_;  // columns of X that are packed together
  Index packed_floats_, expanded_pitch_, expanded_floats_;
};

}  // namespace

std::shared_ptr<const Plan> plan_expanded(const Kernels& table, const Expansion& expansion, const Matrix& w,
                                          const ConstImages& x, const Conv2dParams& s, const Images& y, int threads) {
  return std::make_shared<ExpandedPlan>(table, expansion, w, x, s, y, threads);
}

}  // namespace sparse_engine
