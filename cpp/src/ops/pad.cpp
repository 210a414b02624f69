#include "ops/pad.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {
namespace {

constexpr Index kTaskFloats = Tuning::session.elementwise_floats;

Index padded(const PadAxis& axis) { return checked_add(axis.before, checked_add(axis.length, axis.after, "pad"), "pad"); }

class PadPlan final : public Plan {
 public:
  PadPlan(const std::vector<PadAxis>& axes, int threads) {
    outer_.push_back({0, 1, 0});
    for (const PadAxis& axis : axes) {
      if (axis.before != 0 || axis.after != 0) {
        outer_.push_back(axis);
        continue;
      }
      // Nothing is added along this axis: it lies in runs of the one before it.
      PadAxis& last = outer_.back();
      for (Index* part : {&last.before, &last.length, &last.after}) *part = checked_mul(*part, axis.length, "pad");
    }
    run_ = outer_.back();
    outer_.pop_back();
    for (const PadAxis& axis : outer_) rows_ = checked_mul(rows_, padded(axis), "pad");
    const Index width = padded(run_);
    if (checked_mul(rows_, width, "pad") == 0) rows_ = 0;
    grouped_ = std::max<Index>(1, kTaskFloats / std::max<Index>(1, width));
    cut(Strategy::pad, (rows_ + grouped_ - 1) / grouped_, threads, 0, 0);
  }

 private:
  void run_one(Index task, const Operands& operands, const float*, float*) const override {
    const Index width = run_.before + run_.length + run_.after;
    const float number = *operands.second;
    for (Index row = task * grouped_; row < std::min((task + 1) * grouped_, rows_); ++row) {
      bool inside = true;
      Index rest = row, from = 0, pitch = run_.length;
      for (auto axis = outer_.rbegin(); axis != outer_.rend(); ++axis) {
        const Index all = axis->before + axis->length + axis->after, at = rest % all - axis->before;
        inside = inside && at >= 0 && at < axis->length;
        from += at * pitch;
        pitch *= axis->length;
        rest /= all;
      }
      float* const y = operands.y + row * width;
      if (!inside) {
        std::fill_n(y, width, number);
        continue;
      }
      std::fill_n(y, run_.before, number);
      std::copy_n(operands.x + from, run_.length, y + run_.before);
      std::fill_n(y + run_.before + run_.length, run_.after, number);
    }
  }

  std::vector<PadAxis> outer_;
  PadAxis run_;
  Index rows_ = 1, grouped_ = 1;
};

}  // namespace

std::shared_ptr<const Plan> plan_pad(const std::vector<PadAxis>& axes, int threads) {
  return std::make_shared<PadPlan>(axes, threads);
}

}  // namespace sparse_engine
