#include "session/steps/computed.hpp"

#include <utility>

#include "base/check.hpp"
#include "ops/attention.hpp"
#include "ops/elementwise.hpp"
#include "ops/matmul.hpp"
#include "ops/pool.hpp"
#include "ops/resize.hpp"
#include "ops/rows.hpp"
#include "program/shapes.hpp"

namespace sparse_engine {
namespace {

// The rows of x, which its last `axes` axes make up, and their length.
std::pair<Index, Index> rows_of(const NodeContext& at, Index axes) {
  const std::vector<Index> from = at.shape(at.node.inputs[0]);
  Index rows = 1, columns = 1;
  for (std::size_t i = 0; i < from.size(); ++i) (i + static_cast<std::size_t>(axes) < from.size() ? rows : columns) *= from[i];
  return {rows, columns};
}

HeadStrides head_strides(const NodeContext& at, Index value, Index heads_axis) {
  const std::vector<Index> apart = at.strides(value);
  return {apart[0], apart[static_cast<std::size_t>(heads_axis)], apart[static_cast<std::size_t>(3 - heads_axis)]};
}

}  // namespace

PlannedNode planned_pool(const NodeContext& at) {
  const ConstImages x = at.images_of(at.node.inputs[0]);
  const Images y = at.writable_images_of(at.node.output);
  const std::vector<Index>& n = at.node.numbers;
  const bool maximum = at.node.operation == Operation::max_pool;
  const PoolShape s{maximum, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], !maximum && n[8] != 0};
  return {.plans = {plan_pool(at.table, x, s, y, at.threads_for(x.batch * x.channels * x.height * x.width))}};
}

PlannedNode planned_adaptive_pool(const NodeContext& at) {
  const ConstImages x = at.images_of(at.node.inputs[0]);
  const Images y = at.writable_images_of(at.node.output);
  return {.plans = {plan_adaptive_pool(at.table, at.node.operation == Operation::adaptive_max_pool, x, y,
                                       at.threads_for(x.batch * x.channels * x.height * x.width))}};
}

PlannedNode planned_resize(const NodeContext& at) {
  const ConstImages x = at.images_of(at.node.inputs[0]);
  const Images y = at.writable_images_of(at.node.output);
  return {
      .plans = {plan_resize(at.table, x, y, at.threads_for(checked_mul(x.batch * x.channels, y.height * y.width, "work")))}};
}

PlannedNode planned_mean(const NodeContext& at) {
  const auto [rows, columns] = rows_of(at, at.node.numbers[0]);
  const auto plan = at.node.operation == Operation::mean ? plan_mean : plan_sum;
  return {.plans = {plan(at.table, rows, columns, at.threads_for(rows * columns / 4))}};
}

PlannedNode planned_binary(const NodeContext& at, BinaryOp op) {
  const std::vector<Index>& inputs = at.node.inputs;
  const std::vector<Index> from = at.shape(inputs[0]);
  BroadcastShape s{1, 1, 1};
  if (op == BinaryOp::first) {
    s.middle = at.program.elements(inputs[0], at.batch);
  } else {
    const auto& values = at.program.values();
    const auto axes =
        broadcast_axes(values[static_cast<std::size_t>(inputs[0])].shape, values[static_cast<std::size_t>(inputs[1])].shape);
    for (std::size_t i = 0; i < from.size(); ++i)
      (i < axes->outer ? s.outer : i < from.size() - axes->inner ? s.middle : s.inner) *= from[i];
  }
  return {.plans = {plan_binary(at.table, op, s, at.threads_for(s.outer * s.middle * s.inner))}};
}

PlannedNode planned_softmax(const NodeContext& at) {
  const auto [rows, columns] = rows_of(at, 1);
  return {.plans = {plan_softmax(at.table, rows, columns, at.threads_for(rows * columns * 2))}};
}

PlannedNode planned_norm(const NodeContext& at) {
  const auto [rows, columns] = rows_of(at, at.node.numbers[0]);
  const auto plan = at.node.operation == Operation::layer_norm ? plan_layer_norm : plan_rms_norm;
  return {.plans = {plan(at.table, rows, columns, at.threads_for(rows * columns))}};
}

PlannedNode planned_matmul(const NodeContext& at) {
  const std::vector<Index> x = at.shape(at.node.inputs[0]), y = at.shape(at.node.output);
  const std::size_t last = x.size() - 1;
  MatmulShape s{1, x[last - 1], x[last], y[last], at.node.numbers[0] != 0};
  for (std::size_t i = 0; i + 1 < last; ++i) s.batch *= x[i];
  const Index work = checked_mul(checked_mul(s.batch, s.rows * s.columns, "work"), s.depth, "work");
  return {.plans = {plan_matmul(at.table, s, at.threads_for(work))}, .multiply_adds = work};
}

PlannedNode planned_attention(const NodeContext& at) {
  const NodeInfo& node = at.node;
  const std::vector<Index>& n = node.numbers;
  const auto axes = [&](std::size_t i, Index heads_axis) {
    return attention_axes(at.program.values()[static_cast<std::size_t>(node.inputs[i])].shape, heads_axis);
  };
  const AttentionAxes q = axes(0, n[0]), k = axes(1, n[1]), v = axes(2, n[2]);
  AttentionShape s{.batch = q.batch.at(at.batch),
                   .heads = q.heads.fixed,
                   .queries = q.tokens.at(at.batch),
                   .keys = k.tokens.at(at.batch),
                   .depth = q.features.fixed,
                   .width = v.features.fixed,
                   .shared = q.heads.fixed / k.heads.fixed,
                   .causal = n[4] == 1,
                   .q = head_strides(at, node.inputs[0], n[0]),
                   .k = head_strides(at, node.inputs[1], n[1]),
                   .v = head_strides(at, node.inputs[2], n[2]),
                   .y = head_strides(at, node.output, n[3])};
  if (n[4] == 2) {
    const std::vector<Index> sizes = at.shape(node.inputs[3]);
    s.by_position = true;
    s.position_item = sizes[0] == 1 ? 0 : sizes[1];
  } else if (node.inputs.size() == 4) {
    const std::vector<Index> sizes = at.shape(node.inputs[3]), apart = at.strides(node.inputs[3]);
    const auto step = [&](std::size_t axis) { return sizes[axis] == 1 ? 0 : apart[axis]; };
    s.masked = true;
    s.mask = {step(0), step(1), step(2)};
    s.mask_is_one_for_all_keys = step(3) == 0 && s.keys != 1;
  }
  const Index scores = checked_mul(checked_mul(s.batch, s.heads, "work"), checked_mul(s.queries, s.keys, "work"), "work");
  const Index work = checked_mul(scores, s.depth + s.width, "work");
  return {.plans = {plan_attention(at.table, s, at.threads_for(work))}, .multiply_adds = work};
}

}  // namespace sparse_engine
