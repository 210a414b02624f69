#include "ops/pool.hpp"

#include <algorithm>
#include <vector>

#include "base/check.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {

Index pooled_size(Index size, Index kernel, Index stride, Index before, Index after) {
  check(kernel >= 1 && stride >= 1, "a pool of kernel ", kernel, " and stride ", stride, "; both must be at least 1");
  check(before >= 0 && after >= 0, "padding of a pool is ", std::min(before, after), "; it must not be negative");
  check(size >= 0, "input of a pool has size ", size, "; it must not be negative");
  // A window that lies in the padding alone would have no maximum.
  check(before < kernel && after < kernel + stride, "padding of a pool is ", std::max(before, after),
        ", as wide as its window of ", kernel);
  const Index padded = checked_add(checked_add(size, before, "padded input"), after, "padded input");
  check(kernel <= padded, "the window of a pool reaches over ", kernel, " cells, the padded input has ", padded);
  return (padded - kernel) / stride + 1;
}

namespace {

class PoolPlan final : public Plan {
 public:
  PoolPlan(const Kernels& table, const ConstImages& x, const PoolShape& s, const Images& y, int threads)
      : table_(table), x_(x), s_(s), y_(y) {
    runs_ = (x.channels + kChannels - 1) / kChannels;
    folded_ = s.pad_left + x.width + s.pad_right;
    if (!s.maximum) {
      // Row h of the table: outputs whose windows hold h rows.
      scales_.resize(static_cast<std::size_t>((s.kernel_h + 1) * y.width));
      for (Index rows = 1; rows <= s.kernel_h; ++rows)
        for (Index column = 0; column < y.width; ++column) {
          const Index cells = columns_under(column) * rows;
          scales_[static_cast<std::size_t>(rows * y.width + column)] =
              cells == 0 ? 0.0f : static_cast<float>(1.0 / static_cast<double>(cells));
        }
    }
    cut(Strategy::pool, checked_mul(x.batch, runs_, "tasks"), threads, 0, folded_);
  }

 private:
  static constexpr Index kChannels = Tuning::session.pool_channels;

  // Cells that an average divides by; padding that only rounding up to a last window asked for never counts.
  Index columns_under(Index column) const {
    const Index first = column * s_.stride_w - s_.pad_left, last = first + s_.kernel_w;
    if (s_.counts_padding) return std::min(last, x_.width + s_.pad_left) - first;
    return std::min(last, x_.width) - std::max<Index>(first, 0);
  }
  Index rows_counted(Index row) const {
    const Index first = row * s_.stride_h - s_.pad_top, last = first + s_.kernel_h;
    if (s_.counts_padding) return std::min(last, x_.height + s_.pad_top) - first;
    return std::min(last, x_.height) - std::max<Index>(first, 0);
  }

  void run_one(Index task, const Operands& operands, const float*, float* own) const override {
    const Index image = task / runs_, first = task % runs_ * kChannels, last = std::min(first + kChannels, x_.channels);
    for (Index channel = first; channel < last; ++channel)
      for (Index row = 0; row < y_.height; ++row) {
        const Index top = row * s_.stride_h - s_.pad_top, begin = std::max<Index>(top, 0),
                    end = std::min(top + s_.kernel_h, x_.height);
        table_.pool_row({.maximum = s_.maximum,
                         .x = operands.x + image * x_.stride_n + channel * x_.stride_c + begin * x_.stride_h,
                         .rows = std::max<Index>(end - begin, 0),
                         .row_stride = x_.stride_h,
                         .width = x_.width,
                         .pad_left = s_.pad_left,
                         .pad_right = s_.pad_right,
                         .kernel_w = s_.kernel_w,
                         .stride_w = s_.stride_w,
                         .outputs = y_.width,
                         .scales = s_.maximum ? nullptr : scales_.data() + std::max<Index>(rows_counted(row), 0) * y_.width,
                         .folded = own,
                         .y = operands.y + image * y_.stride_n + channel * y_.stride_c + row * y_.stride_h});
      }
  }

  const Kernels& table_;
  ConstImages x_;
  PoolShape s_;
  Images y_;
  Index runs_, folded_;
  std::vector<float> scales_;
};

// Rows under a window become one, as in a pool of kernel width 1; then its columns.
class AdaptivePoolPlan final : public Plan {
 public:
  AdaptivePoolPlan(const Kernels& table, bool maximum, const ConstImages& x, const Images& y, int threads)
      : table_(table), maximum_(maximum), x_(x), y_(y), ones_(static_cast<std::size_t>(x.width), 1.0f) {
    runs_ = (x.channels + kChannels - 1) / kChannels;
    cut(Strategy::pool, checked_mul(x.batch, runs_, "tasks"), threads, 0, checked_mul(2, x.width, "workspace"));
  }

 private:
  static constexpr Index kChannels = Tuning::session.pool_channels;

  static Index begin_of(Index output, Index outputs, Index size) { return output * size / outputs; }
  static Index end_of(Index output, Index outputs, Index size) { return ((output + 1) * size + outputs - 1) / outputs; }

  void run_one(Index task, const Operands& operands, const float*, float* own) const override {
    const Index image = task / runs_, first = task % runs_ * kChannels, last = std::min(first + kChannels, x_.channels);
    for (Index channel = first; channel < last; ++channel)
      for (Index row = 0; row < y_.height; ++row) {
        const Index begin = begin_of(row, y_.height, x_.height), rows = end_of(row, y_.height, x_.height) - begin;
        float* const folded = own + x_.width;
        table_.pool_row({.maximum = maximum_,
                         .x = operands.x + image * x_.stride_n + channel * x_.stride_c + begin * x_.stride_h,
                         .rows = rows,
                         .row_stride = x_.stride_h,
                         .width = x_.width,
                         .pad_left = 0,
                         .pad_right = 0,
                         .kernel_w = 1,
                         .stride_w = 1,
                         .outputs = x_.width,
                         .scales = ones_.data(),
                         .folded = own,
                         .y = folded});
        float* const y = operands.y + image * y_.stride_n + channel * y_.stride_c + row * y_.stride_h;
        for (Index out = 0; out < y_.width; ++out) y[out] = under(folded, rows, out);
      }
  }

  float under(const float* folded, Index rows, Index out) const {
    const Index begin = begin_of(out, y_.width, x_.width), end = end_of(out, y_.width, x_.width);
    float v = folded[begin];
    for (Index column = begin + 1; column < end; ++column) {
      const float next = folded[column];
      if (!maximum_)
        v += next;
      else if (next > v || next != next)  // NaN stays, as nothing is above it
        v = next;
    }
    return maximum_ ? v : v * static_cast<float>(1.0 / static_cast<double>(rows * (end - begin)));
  }

  const Kernels& table_;
  bool maximum_;
  ConstImages x_;
  Images y_;
  std::vector<float> ones_;
  Index runs_;
};

}  // namespace

std::shared_ptr<const Plan> plan_pool(const Kernels& table, const ConstImages& x, const PoolShape& shape, const Images& y,
                                      int threads) {
  return std::make_shared<PoolPlan>(table, x, shape, y, threads);
}

std::shared_ptr<const Plan> plan_adaptive_pool(const Kernels& table, bool maximum, const ConstImages& x, const Images& y,
                                               int threads) {
  return std::make_shared<AdaptivePoolPlan>(table, maximum, x, y, threads);
}

}  // namespace sparse_engine
