#include "ops/resize.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {
namespace {

class ResizePlan final : public Plan {
 public:
  ResizePlan(const Kernels& table, const ConstImages& x, const Images& y, int threads) : table_(table), x_(x), y_(y) {
    rows_ = checked_mul(checked_mul(x.batch, x.channels, "planes"), y.height, "rows");
    grouped_ = std::max<Index>(1, Tuning::session.elementwise_floats / std::max<Index>(1, y.width + x.width));
    cut(Strategy::resize, (rows_ + grouped_ - 1) / grouped_, threads, 0, x.width);
  }

 private:
  void run_one(Index task, const Operands& operands, const float*, float* own) const override {
    for (Index i = task * grouped_; i < std::min((task + 1) * grouped_, rows_); ++i) {
      const Index row = i % y_.height, channel = i / y_.height % y_.channels, image = i / y_.height / y_.channels;
      const float number = operands.second[row];
      const Index upper = number > 0 ? static_cast<Index>(std::min(number, static_cast<float>(x_.height - 1))) : 0;
      const float* const plane = operands.x + image * x_.stride_n + channel * x_.stride_c;
      table_.resize_row({.upper = plane + upper * x_.stride_h,
                         .lower = plane + std::min(upper + 1, x_.height - 1) * x_.stride_h,
                         .weight = operands.second[y_.height + row],
                         .width = x_.width,
                         .columns = operands.third,
                         .column_weights = operands.third + y_.width,
                         .outputs = y_.width,
                         .folded = own,
                         .y = operands.y + image * y_.stride_n + channel * y_.stride_c + row * y_.stride_h});
    }
  }

  const Kernels& table_;
  ConstImages x_;
  Images y_;
  Index rows_, grouped_;
};

}  // namespace

std::shared_ptr<const Plan> plan_resize(const Kernels& table, const ConstImages& x, const Images& y, int threads) {
  const Index longest = std::max(x.height, x.width);
  // A float counts whole numbers so far.
  check(std::min(x.height, x.width) >= 1 && longest <= Index{1} << 24, "resize reads planes of ", x.height, " × ", x.width,
        "; both must lie in [1, 2²⁴]");
  return std::make_shared<ResizePlan>(table, x, y, threads);
}

}  // namespace sparse_engine
