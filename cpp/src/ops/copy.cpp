#include "ops/copy.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {
namespace {

constexpr Index kTaskFloats = Tuning::session.elementwise_floats;
constexpr Index kTile = 16;  // of a transposition: rows of one cache line

Index pieces_of(Index length, Index piece) { return (length + piece - 1) / piece; }

// Axes of length 1 go, and neighbours that lie in one another in x and in y become one.
std::vector<CopyAxis> merged(const std::vector<CopyAxis>& axes) {
  std::vector<CopyAxis> result;
  for (const CopyAxis& axis : axes) {
    if (axis.length == 1) continue;
    if (!result.empty() && result.back().x_stride == axis.length * axis.x_stride &&
        result.back().y_stride == axis.length * axis.y_stride)
      result.back() = {result.back().length * axis.length, axis.x_stride, axis.y_stride};
    else
      result.push_back(axis);
  }
  return result;
}

void copy_block(const float* x, float* y, const CopyAxis& rows, const CopyAxis& run) {
  if (run.x_stride == 1 && run.y_stride == 1) {
    for (Index r = 0; r < rows.length; ++r) std::copy_n(x + r * rows.x_stride, run.length, y + r * rows.y_stride);
  } else if (run.x_stride == 0 && run.y_stride == 1) {
    for (Index r = 0; r < rows.length; ++r) std::fill_n(y + r * rows.y_stride, run.length, x[r * rows.x_stride]);
  } else {
    // Where rows are contiguous in x this transposes: the lines of x that a tile reads stay in the cache until it is done.
    for (Index top = 0; top < rows.length; top += kTile)
      for (Index left = 0; left < run.length; left += kTile)
        for (Index r = top; r < std::min(top + kTile, rows.length); ++r)
          for (Index i = left; i < std::min(left + kTile, run.length); ++i)
            y[r * rows.y_stride + i * run.y_stride] = x[r * rows.x_stride + i * run.x_stride];
  }
}

// The two axes of a block, and those around them. A block is cut into pieces, or several make a task.
class CopyPlan final : public Plan {
 public:
  CopyPlan(const std::vector<CopyAxis>& axes, Index first, int threads) : first_(first), outer_(merged(axes)) {
    while (outer_.size() < 2) outer_.insert(outer_.begin(), {1, 0, 0});
    run_ = outer_.back();
    outer_.pop_back();
    auto rows = std::prev(outer_.end());
    if (run_.x_stride != 1) {
      const auto contiguous = std::find_if(outer_.begin(), outer_.end(), [](const CopyAxis& a) { return a.x_stride == 1; });
      if (contiguous != outer_.end()) rows = contiguous;
    }
    rows_ = *rows;
    outer_.erase(rows);
    Index units = 1;
    for (const CopyAxis& axis : outer_) units = checked_mul(units, axis.length, "elements");
    const Index block = checked_mul(rows_.length, run_.length, "elements");
    if (checked_mul(units, block, "elements") == 0) {
      cut(Strategy::copy, 0, threads, 0, 0);
      return;
    }
    run_piece_ = std::min(run_.length, kTaskFloats);
    row_piece_ = std::min(rows_.length, std::max<Index>(1, kTaskFloats / run_piece_));
    run_pieces_ = pieces_of(run_.length, run_piece_);
    units_ = units * pieces_of(rows_.length, row_piece_) * run_pieces_;
    grouped_ = std::max<Index>(1, kTaskFloats / (run_piece_ * row_piece_));
    cut(Strategy::copy, pieces_of(units_, grouped_), threads, 0, 0);
  }

 private:
  void run_one(Index task, const Operands& operands, const float*, float*) const override {
    const Index row_pieces = pieces_of(rows_.length, row_piece_);
    for (Index unit = task * grouped_; unit < std::min((task + 1) * grouped_, units_); ++unit) {
      const Index left = unit % run_pieces_ * run_piece_, top = unit / run_pieces_ % row_pieces * row_piece_;
      Index around = unit / run_pieces_ / row_pieces;
      Index from = first_ + top * rows_.x_stride + left * run_.x_stride, to = top * rows_.y_stride + left * run_.y_stride;
      for (auto axis = outer_.rbegin(); axis != outer_.rend(); ++axis) {
        from += around % axis->length * axis->x_stride;
        to += around % axis->length * axis->y_stride;
        around /= axis->length;
      }
      copy_block(operands.x + from, operands.y + to, {std::min(row_piece_, rows_.length - top), rows_.x_stride, rows_.y_stride},
                 {std::min(run_piece_, run_.length - left), run_.x_stride, run_.y_stride});
    }
  }

  Index first_;
  std::vector<CopyAxis> outer_;
  CopyAxis rows_, run_;
  Index run_piece_ = 0, row_piece_ = 0, run_pieces_ = 0, units_ = 0, grouped_ = 0;
};

}  // namespace

std::shared_ptr<const Plan> plan_copy(const std::vector<CopyAxis>& axes, Index first, int threads) {
  return std::make_shared<CopyPlan>(axes, first, threads);
}

}  // namespace sparse_engine
