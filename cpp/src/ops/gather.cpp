#include "ops/gather.hpp"

#include <algorithm>
#include <limits>

#include "base/check.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {
namespace {

class GatherPlan final : public Plan {
 public:
  GatherPlan(Index count, Index rows, Index width, int threads) : count_(count), rows_(rows), width_(width) {
    checked_mul(count, width, "elements");
    grouped_ = std::max<Index>(1, Tuning::session.elementwise_floats / std::max<Index>(1, width));
    cut(Strategy::gather, (count + grouped_ - 1) / grouped_, threads, 0, 0);
  }

 private:
  void run_one(Index task, const Operands& operands, const float*, float*) const override {
    for (Index i = task * grouped_; i < std::min((task + 1) * grouped_, count_); ++i) {
      const float number = operands.x[i];
      float* const y = operands.y + i * width_;
      if (number >= 0 && number < static_cast<float>(rows_))
        std::copy_n(operands.second + static_cast<Index>(number) * width_, width_, y);
      else
        std::fill_n(y, width_, std::numeric_limits<float>::quiet_NaN());
    }
  }

  Index count_, rows_, width_, grouped_;
};

}  // namespace

std::shared_ptr<const Plan> plan_gather(Index count, Index rows, Index width, int threads) {
  // A float counts whole numbers so far.
  check(rows <= Index{1} << 24, "a table has ", rows, " rows; at most 2²⁴ are supported");
  return std::make_shared<GatherPlan>(count, rows, width, threads);
}

}  // namespace sparse_engine
