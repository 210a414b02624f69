#include "ops/recurrent_sequence.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/check.hpp"
#include "base/lockstep.hpp"
#include "base/tuning.hpp"
#include "ops/spmm/gemv_product.hpp"

namespace sparse_engine {
namespace {

// A chain is one direction for up to eight sequences; chains know nothing of each other. Where there are enough of them, or a
// step is short, each is a task. Elsewhere the units of a step are cut too, and tasks go through the steps together: what one
// takes of a step are all gates of some units and then these units' cells, so that nobody waits within a step. h is packed for
// the next step in a panel that nobody reads in this one.
class RecurrentSequence final : public Plan {
 public:
  RecurrentSequence(const Kernels& table, const Matrix& w, const RecurrentShape& shape, int threads)
      : table_(table),
        shape_(shape),
        gates_(gates_of(shape.cell)),
        width_(shape.directions * gates_ * shape.hidden),
        groups_((shape.batch + kSkinnyColumns - 1) / kSkinnyColumns),
        chains_(shape.directions * groups_),
        block_(std::lcm(w.impl()->skinny_step(), Index{16})),
        pieces_(pieces(w, threads)),
        lockstep_(shape.steps, chains_ * pieces_, threads) {
    const Index fewest = groups_ == 0 ? 0 : shape.batch / groups_, most = groups_ == 0 ? 0 : columns(groups_ - 1);
    for (Index n = fewest; n <= most && n > 0; ++n) {
      products_.emplace_back(table, w, n);
      panel_ = std::max(panel_, whole_lines(products_.back().strides().floats, "packed state"));
    }
    state_ = whole_lines(checked_mul(most, shape.hidden, "state"), "state");
    const Index product = whole_lines(checked_mul(most, width_, "gates"), "gates");
    chain_ = checked_add(checked_add(2 * panel_, 2 * state_, "workspace"), product, "workspace");
    const Index counters = lockstep_.bytes() / kFloatBytes;
    if (pieces_ == 1)
      cut(Strategy::recurrent, chains_, threads, 0, chain_);
    else
      cut(Strategy::recurrent, threads, threads, checked_add(counters, checked_mul(chains_, chain_, "workspace"), "workspace"),
          0);
  }

  void prepare(const Operands& operands, float* workspace) const override {
    if (pieces_ == 1) return;
    lockstep_.restart(workspace);
    for (Index chain = 0; chain < chains_; ++chain) start(chain, operands, scratch_of(chain, workspace));
  }

 private:
  static constexpr Index kFloatBytes = sizeof(float);

  // What a step of a chain is cut into.
  Index pieces(const Matrix& w, int threads) const {
    if (evenly(chains_, threads)) return 1;
    const Index columns = std::max(shape_.batch, Tuning::threads.few_columns_worth);
    if (checked_mul(w.nnz() + w.rows(), columns, "work") < tuning().shared_step) return 1;
    return std::min((shape_.hidden + block_ - 1) / block_, (Index{4} * threads + chains_ - 1) / chains_);
  }

  Index first_of(Index group) const { return shape_.batch * group / groups_; }
  Index columns(Index group) const { return first_of(group + 1) - first_of(group); }
  const GemvProduct& product(Index count) const { return products_[static_cast<std::size_t>(count - columns(0))]; }
  float* scratch_of(Index chain, float* shared) const { return shared + lockstep_.bytes() / kFloatBytes + chain * chain_; }

  void run_one(Index task, const Operands& operands, const float* shared, float* own) const override {
    if (pieces_ == 1) {
      start(task, operands, own);
      for (Index i = 0; i < shape_.steps; ++i) step(i, task, 0, shape_.hidden, operands, own);
      return;
    }
    float* const common = const_cast<float*>(shared);  // what one step leaves there, the next one reads
    const Index blocks = (shape_.hidden + block_ - 1) / block_;
    lockstep_.work(common, task, [&](Index i, Index item) {
      const Index chain = item / pieces_, piece = item % pieces_;
      const Index first = blocks * piece / pieces_ * block_;
      const Index last = std::min(shape_.hidden, blocks * (piece + 1) / pieces_ * block_);
      step(i, chain, first, last, operands, scratch_of(chain, common));
    });
  }

  // Parts of a chain's scratch.
  float* packed(float* scratch, Index i) const { return scratch + i % 2 * panel_; }
  float* h_of(float* scratch) const { return scratch + 2 * panel_; }
  float* c_of(float* scratch) const { return h_of(scratch) + state_; }
  float* gates_in(float* scratch) const { return c_of(scratch) + state_; }

  void pack(const float* h, Index count, Index first, Index last, float* target) const {
    const SkinnyStrides& strides = product(count).strides();
    for (Index b = 0; b < count; ++b)
      for (Index j = first; j < last; ++j) target[j * strides.row + b * strides.column] = h[b * shape_.hidden + j];
  }

  // The state before the first step.
  void start(Index chain, const Operands& operands, float* scratch) const {
    const Index direction = chain / groups_, group = chain % groups_, count = columns(group);
    std::fill_n(scratch, 2 * panel_ + 2 * state_, 0.0f);
    if (shape_.has_state) {
      const Index floats = count * shape_.hidden, apart = shape_.batch * shape_.hidden;
      const float* const h = operands.second + direction * apart + first_of(group) * shape_.hidden;
      std::copy_n(h, floats, h_of(scratch));
      if (shape_.cell == Cell::lstm) std::copy_n(h + shape_.directions * apart, floats, c_of(scratch));
    }
    pack(h_of(scratch), count, 0, shape_.hidden, packed(scratch, 0));
  }

  // Units [first, last) of a chain in step i.
  void step(Index i, Index chain, Index first, Index last, const Operands& operands, float* scratch) const {
    const Index hidden = shape_.hidden, units = last - first, row = shape_.directions * hidden;
    const Index direction = chain / groups_, group = chain % groups_, count = columns(group);
    const Index t = direction == 1 ? shape_.steps - 1 - i : i, b0 = first_of(group);
    const Index steps_of_y = shape_.steps + (shape_.keeps_cells ? 1 : 0);
    const auto at = [&](Index steps, Index time, Index b) {
      return shape_.batch_first ? b * steps + time : time * shape_.batch + b;
    };
    const Index row_begin = direction * gates_ * hidden;
    float* const out = gates_in(scratch);
    if (shape_.cell == Cell::lstm)  // the product goes on top of what the inputs give
      for (Index b = 0; b < count; ++b)
        for (Index gate = 0; gate < gates_; ++gate)
          std::copy_n(operands.x + at(shape_.steps, t, b0 + b) * width_ + row_begin + gate * hidden + first, units,
                      out + b * width_ + row_begin + gate * hidden + first);
    const GemvProduct& product = this->product(count);
    const auto multiply = [&](Index begin, Index end) {
      product.multiply({.kernels = &table_,
                        .row_begin = row_begin + begin,
                        .row_end = row_begin + end,
                        .columns = count,
                        .x = packed(scratch, i),
                        .x_stride = product.strides().column,
                        .bias = operands.epilogue.bias,
                        .residual = shape_.cell == Cell::lstm ? out : nullptr,
                        .activation = Activation::none,
                        .y = out,
                        .y_row_stride = 1,
                        .y_column_stride = width_});
    };
    if (units == hidden)
      multiply(0, gates_ * hidden);
    else
      for (Index gate = 0; gate < gates_; ++gate) multiply(gate * hidden + first, gate * hidden + last);
    for (Index b = 0; b < count; ++b) {
      const float* const made = out + b * width_ + row_begin + first;
      float* const h = h_of(scratch) + b * hidden + first;
      float* const c = c_of(scratch) + b * hidden + first;
      float* const y = operands.y + direction * hidden + first;
      float* const now = y + at(steps_of_y, t, b0 + b) * row;
      if (shape_.cell == Cell::lstm)
        table_.lstm_cell({made, hidden, units, c, h, now});
      else
        table_.gru_cell({operands.x + at(shape_.steps, t, b0 + b) * width_ + row_begin + first, made, hidden, units, h, now});
      if (shape_.keeps_cells && i == shape_.steps - 1) std::copy_n(c, units, y + at(steps_of_y, shape_.steps, b0 + b) * row);
    }
    pack(h_of(scratch), count, first, last, packed(scratch, i + 1));
  }

  const Kernels& table_;
  RecurrentShape shape_;
  Index gates_, width_, groups_, chains_, block_, pieces_;
  Lockstep lockstep_;
  std::vector<GemvProduct> products_;  // of the fewest sequences that a chain has, and of one more
  Index panel_ = 0, state_ = 0, chain_ = 0;
};

}  // namespace

std::shared_ptr<const Plan> plan_recurrent_sequence(const Kernels& table, const Matrix& w, const RecurrentShape& shape,
                                                    int threads) {
  return std::make_shared<RecurrentSequence>(table, w, shape, threads);
}

}  // namespace sparse_engine
