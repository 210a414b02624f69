#include "ops/attention.hpp"

#include <algorithm>
#include <cmath>

#include "base/check.hpp"
#include "base/parallel.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {
namespace {

// Rows an odd number of cache lines apart do not collide in the L1 cache.
Index odd_lines(Index floats) {
  const Index whole = whole_lines(std::max<Index>(floats, 1), "attention");
  return whole / kLineFloats % 2 == 0 ? whole + kLineFloats : whole;
}

// A task packs k (transposed) and v of a head; then some queries at a time, whose scores stay in the L1 cache. For few queries
// it reads both where they lie.
class AttentionPlan final : public Plan {
 public:
  AttentionPlan(const Kernels& table, const AttentionShape& s, int threads)
      : table_(table),
        s_(s),
        scale_(static_cast<float>(1 / std::sqrt(static_cast<double>(s.depth)))),
        key_pitch_(odd_lines(s.keys)),
        value_pitch_(odd_lines(s.width)) {
    const Index heads = checked_mul(s.batch, s.heads, "heads");
    // Heads are packed once for each of their tasks: as few as keep the threads busy.
    const Index wanted = evenly(heads, threads) ? 1 : threads;
    const Index pieces = std::max<Index>(1, std::min(wanted, s.queries / kRows));
    queries_ = (s.queries + pieces - 1) / pieces;
    pieces_ = queries_ == 0 ? 0 : (s.queries + queries_ - 1) / queries_;
    packs_keys_ = s.queries > kFew;
    packs_values_ = packs_keys_ || s.width % kLineFloats != 0;  // whole vectors of them are read
    const Index keys = packs_keys_ ? checked_mul(s.depth, key_pitch_, "workspace") : 0;
    const Index values = packs_values_ ? checked_mul(s.keys, value_pitch_, "workspace") : 0;
    values_at_ = keys;
    scores_at_ = checked_add(keys, values, "workspace");
    mask_at_ = checked_add(scores_at_, checked_mul(kRows, key_pitch_, "workspace"), "workspace");
    cut(Strategy::attention, checked_mul(heads, pieces_, "tasks"), threads, 0,
        checked_add(mask_at_, s.masked ? key_pitch_ : 0, "workspace"));
  }

 private:
  static constexpr Index kRows = Tuning::session.attention_rows, kFew = Tuning::session.attention_few_queries;

  static Index at(const HeadStrides& s, Index item, Index head, Index token) {
    return item * s.item + head * s.head + token * s.token;
  }

  void run_one(Index task, const Operands& operands, const float*, float* own) const override {
    const Index head = task / pieces_ % s_.heads, item = task / pieces_ / s_.heads, begin = task % pieces_ * queries_;
    const Index end = std::min(begin + queries_, s_.queries), of = head / s_.shared;
    const float* const positions = operands.fourth + item * s_.position_item;  // where there are any
    const Index keys = seen(begin, end, positions);
    const float *const k = operands.second + at(s_.k, item, of, 0), *const v = operands.third + at(s_.v, item, of, 0);
    if (packs_keys_) pack(k, 1, s_.k.token, s_.depth, keys, own, key_pitch_);
    if (packs_values_) pack(v, s_.v.token, 1, keys, s_.width, own + values_at_, value_pitch_);
    for (Index first = begin; first < end; first += kRows) {
      const Index rows = std::min(kRows, end - first), columns = seen(first, first + rows, positions);
      float* const scores = own + scores_at_;
      const float* const q = operands.x + at(s_.q, item, head, first);
      if (packs_keys_)
        table_.gemm({.a = q,
                     .a_row = s_.q.token,
                     .a_column = 1,
                     .rows = rows,
                     .depth = s_.depth,
                     .b = own,
                     .b_row = key_pitch_,
                     .columns = columns,
                     .y = scores,
                     .y_row = key_pitch_});
      for (Index r = 0; r < rows; ++r) {
        const Index of_row = seen(first + r, first + r + 1, positions);
        float* const row = scores + r * key_pitch_;
        if (!packs_keys_)
          table_.dot_rows(
              {.a = k, .a_row = s_.k.token, .rows = of_row, .columns = s_.depth, .x = q + r * s_.q.token, .y = row});
        table_.softmax_row(
            {.x = row,
             .columns = of_row,
             .scale = scale_,
             .mask = s_.masked ? mask_of(operands.fourth + at(s_.mask, item, head, first + r), of_row, own) : nullptr,
             .zeros_where_all_masked = true,
             .y = row});
        std::fill(row + of_row, row + columns, 0.0f);
      }
      table_.gemm({.a = scores,
                   .a_row = key_pitch_,
                   .a_column = 1,
                   .rows = rows,
                   .depth = columns,
                   .b = packs_values_ ? own + values_at_ : v,
                   .b_row = packs_values_ ? value_pitch_ : s_.v.token,
                   .columns = s_.width,
                   .y = operands.y + at(s_.y, item, head, first),
                   .y_row = s_.y.token});
    }
  }

  // How many keys at least one of these queries sees.
  Index seen(Index begin, Index end, const float* positions) const {
    if (s_.causal) return std::min(s_.keys, end);
    if (!s_.by_position) return s_.keys;
    Index most = std::min<Index>(1, s_.keys);
    for (Index i = begin; i < end; ++i) {
      const float last = positions[i];
      if (last >= static_cast<float>(s_.keys)) return s_.keys;
      if (last >= 1) most = std::max(most, static_cast<Index>(last) + 1);
    }
    return most;
  }

  void pack(const float* source, Index row_stride, Index column_stride, Index rows, Index columns, float* target,
            Index pitch) const {
    table_.panel_pack({.source = source,
                       .row_stride = row_stride,
                       .column_stride = column_stride,
                       .rows = rows,
                       .columns = columns,
                       .target = target,
                       .target_stride = pitch,
                       .target_columns = pitch});
  }

  const float* mask_of(const float* mask, Index keys, float* own) const {
    if (!s_.mask_is_one_for_all_keys) return mask;
    std::fill_n(own + mask_at_, keys, *mask);
    return own + mask_at_;
  }

  const Kernels& table_;
  AttentionShape s_;
  float scale_;
  Index key_pitch_, value_pitch_, queries_, pieces_, values_at_, scores_at_, mask_at_;
  bool packs_keys_, packs_values_;
};

}  // namespace

std::shared_ptr<const Plan> plan_attention(const Kernels& table, const AttentionShape& shape, int threads) {
  check(shape.depth >= 1 && shape.shared >= 1, "attention has ", shape.depth, " features a head; it needs at least 1");
  return std::make_shared<AttentionPlan>(table, shape, threads);
}

}  // namespace sparse_engine
