#include "ops/elementwise.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {
namespace {

constexpr Index kTaskFloats = Tuning::session.elementwise_floats;

class BinaryPlan final : public Plan {
 public:
  BinaryPlan(const Kernels& table, BinaryOp op, const BroadcastShape& shape, int threads)
      : table_(table), op_(op), shape_(shape) {
    // One number for everything is one run.
    if (shape.middle == 1) shape_ = {1, 1, checked_mul(shape.outer, shape.inner, "elements")};
    // Runs that share one way to read b: a number for each, or as many elements as they have.
    numbers_ = shape_.inner > 1 && op != BinaryOp::first;
    const Index all = checked_mul(shape_.outer, checked_mul(shape_.middle, shape_.inner, "elements"), "elements");
    run_ = numbers_ ? shape_.inner : op == BinaryOp::first || shape_.outer == 1 ? all : shape_.middle;
    runs_ = run_ == 0 ? 0 : all / run_;
    pieces_ = std::max<Index>(1, (run_ + kTaskFloats - 1) / kTaskFloats);
    grouped_ = pieces_ > 1 ? 1 : std::max<Index>(1, kTaskFloats / std::max<Index>(1, run_));
    cut(Strategy::elementwise, (runs_ + grouped_ - 1) / grouped_ * pieces_, threads, 0, 0);
  }

 private:
  void run_one(Index task, const Operands& operands, const float*, float*) const override {
    const Index piece = task % pieces_, first = task / pieces_ * grouped_, last = std::min(first + grouped_, runs_);
    const Index begin = piece * kTaskFloats, end = pieces_ == 1 ? run_ : std::min(begin + kTaskFloats, run_);
    for (Index run = first; run < last; ++run) {
      const Index at = run * run_ + begin;
      const float* b = operands.second;
      if (op_ != BinaryOp::first) b += numbers_ ? run % shape_.middle : begin;
      table_.binary({.op = op_,
                     .a = operands.x + at,
                     .b = b,
                     .b_is_number = numbers_,
                     .activation = operands.epilogue.activation,
                     .count = end - begin,
                     .y = operands.y + at});
    }
  }

  const Kernels& table_;
  BinaryOp op_;
  BroadcastShape shape_;
  bool numbers_;
  Index run_, runs_, pieces_, grouped_;
};

}  // namespace

std::shared_ptr<const Plan> plan_binary(const Kernels& table, BinaryOp op, const BroadcastShape& shape, int threads) {
  return std::make_shared<BinaryPlan>(table, op, shape, threads);
}

}  // namespace sparse_engine
