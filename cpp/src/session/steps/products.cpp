#include "session/steps/products.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/tuning.hpp"
#include "formats/matrix_impl.hpp"
#include "ops/conv/plan.hpp"
#include "ops/linear.hpp"
#include "ops/recurrent_sequence.hpp"
#include "program/shapes.hpp"

namespace sparse_engine {
namespace {

const WeightInfo& weight_of(const NodeContext& at, const NodeInfo& node) {
  return at.program.weights()[static_cast<std::size_t>(node.weight)];
}

ProductShape shape_of(const NodeContext& at, Index columns, Index group_rows) {
  return {.columns = columns, .lanes = at.table.lanes, .group_rows = group_rows, .cached = at.weights.cached()};
}

// All but the plan: the weight in the format for so many columns, and what multiplying it by them costs.
PlannedNode with_weight(const NodeContext& at, Index columns, Index groups) {
  const WeightInfo& w = weight_of(at, at.node);
  PlannedNode planned;
  planned.format = choose_format(at.weights.density(at.node.weight), shape_of(at, columns, w.rows / groups));
  planned.weight = at.weights.get(at.node.weight, planned.format);
  planned.multiply_adds = checked_mul(static_cast<Index>(w.values.size()), columns, "work");
  return planned;
}

PlannedNode product(const NodeContext& at, const ConstPanel& x, const Panel& y) {
  PlannedNode planned = with_weight(at, x.columns, 1);
  // A weight of few columns costs as much as some of many: it is read for them alone.
  const Index worth = std::max<Index>(x.columns, x.columns <= kSkinnyColumns ? Tuning::threads.few_columns_worth : x.columns);
  const int threads = at.threads_for(checked_mul(planned.weight->nnz() + planned.weight->rows(), worth, "work"));
  planned.plans = {plan_multiply(at.table, *planned.weight, x, y, threads)};
  return planned;
}

// Together with the pointwise convolution whose result it reads.
PlannedNode expanded_conv(const NodeContext& at) {
  const NodeInfo& before = *at.expansion;
  const ConstImages x = at.images_of(before.inputs[0]);
  const Images y = at.writable_images_of(at.node.output);
  const WeightInfo& info = weight_of(at, before);
  const Index columns = checked_mul(x.batch, x.height * x.width, "columns");
  PlannedNode planned = with_weight(at, checked_mul(x.batch, y.height * y.width, "columns"), y.channels);
  planned.expansion =
      at.weights.get(before.weight, choose_format(at.weights.density(before.weight), shape_of(at, columns, info.rows)));
  const Index expanding = checked_mul(static_cast<Index>(info.values.size()), columns, "work");
  planned.multiply_adds = checked_add(planned.multiply_adds, expanding, "work");
  const float* const bias = before.bias == -1 ? nullptr : at.program.constants()[static_cast<std::size_t>(before.bias)].data();
  const Expansion expansion{*planned.expansion, {.bias = bias, .activation = before.activation}};
  planned.plans = {plan_expanded(at.table, expansion, *planned.weight, x, conv_params(at.node), y,
                                 at.threads_for(checked_add(planned.multiply_adds, x.batch * y.channels * y.height, "work")))};
  return planned;
}

// Contiguous but for where its channels lie.
ConstVolumes volumes_of(const NodeContext& at, Index value) {
  const std::vector<Index> sizes = at.shape(value), apart = at.strides(value);
  return {nullptr, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], apart[0], apart[1], sizes[3] * sizes[4], sizes[4], 1};
}

}  // namespace

PlannedNode planned_linear(const NodeContext& at) {
  const Index input = at.node.inputs[0], output = at.node.output;
  const std::vector<Index> from = at.shape(input), to = at.shape(output);
  Index rows = 1;
  for (std::size_t i = 0; i + 1 < from.size(); ++i) rows = checked_mul(rows, from[i], "rows");
  const auto apart = [&](Index value, const std::vector<Index>& sizes) {
    return at.view(value).contiguous() ? sizes.back() : row_stride(sizes, at.view(value).strides);
  };
  return product(at, {nullptr, from.back(), rows, 1, apart(input, from)}, {nullptr, to.back(), rows, 1, apart(output, to)});
}

PlannedNode planned_conv(const NodeContext& at) {
  if (at.expansion) return expanded_conv(at);
  const ConstImages x = at.images_of(at.node.inputs[0]);
  const Images y = at.writable_images_of(at.node.output);
  const Conv2dParams s = conv_params(at.node);
  const bool one_pixel = x.height == 1 && x.width == 1 && y.height == 1 && y.width == 1 && s.groups == 1 && s.kernel_h == 1 &&
                         s.kernel_w == 1 && s.pad_top == 0 && s.pad_left == 0;
  if (one_pixel)
    return product(at, {nullptr, x.channels, x.batch, x.stride_c, x.stride_n},
                   {nullptr, y.channels, y.batch, y.stride_c, y.stride_n});
  PlannedNode planned = with_weight(at, checked_mul(x.batch, y.height * y.width, "columns"), s.groups);
  planned.plans = {plan_conv2d(at.table, *planned.weight, x, s, y, at.node.residual != -1,
                               at.threads_for(checked_add(planned.multiply_adds, x.batch * y.channels * y.height, "work")))};
  return planned;
}

PlannedNode planned_conv3d(const NodeContext& at) {
  const ConstVolumes x = volumes_of(at, at.node.inputs[0]), to = volumes_of(at, at.node.output);
  const Volumes y{nullptr,     to.batch,    to.channels, to.depth,    to.height,  to.width,
                  to.stride_n, to.stride_c, to.stride_d, to.stride_h, to.stride_w};
  const Conv3dParams s = conv3d_params(at.node);
  PlannedNode planned = with_weight(at, checked_mul(x.batch, y.depth * y.height * y.width, "columns"), s.plane.groups);
  const Index rows = x.batch * y.channels * y.depth * y.height;
  planned.plans = {plan_conv3d(at.table, *planned.weight, x, s, y, at.node.residual != -1,
                               at.threads_for(checked_add(planned.multiply_adds, rows, "work")))};
  return planned;
}

PlannedNode planned_recurrence(const NodeContext& at, Cell cell) {
  const NodeInfo& node = at.node;
  const std::vector<Index> from = at.shape(node.inputs[0]);
  const auto batch = static_cast<std::size_t>(node.numbers[0]);
  const WeightInfo& w = weight_of(at, node);
  const RecurrentShape s{.cell = cell,
                         .steps = from[1 - batch],
                         .batch = from[batch],
                         .hidden = w.cols,
                         .directions = w.rows / (gates_of(cell) * w.cols),
                         .batch_first = batch == 0,
                         .has_state = node.inputs.size() > 1,
                         .keeps_cells = cell == Cell::lstm && node.numbers[1] != 0};
  const Index columns = std::clamp<Index>(s.batch, 1, kSkinnyColumns);
  PlannedNode planned;
  ProductShape shape = shape_of(at, columns, s.hidden);
  shape.cached |= s.steps > 1 && w.rows * w.cols * static_cast<Index>(sizeof(float)) <= tuning().matrix_bytes;
  planned.format = choose_format(at.weights.density(node.weight), shape);
  if (s.hidden % 2 != 0) planned.format = WeightFormat::csr;  // whose gates may begin at any row
  planned.weight = at.weights.get(node.weight, planned.format);
  const Index passes = checked_mul(s.steps, s.batch, "work");
  planned.multiply_adds = checked_mul(static_cast<Index>(w.values.size()), passes, "work");
  const Index step = checked_mul(planned.weight->nnz() + w.rows, std::max(s.batch, Tuning::threads.few_columns_worth), "work");
  planned.plans = {plan_recurrent_sequence(at.table, *planned.weight, s, at.threads_for(checked_mul(step, s.steps, "work")))};
  return planned;
}

}  // namespace sparse_engine
