#include "session/steps/moves.hpp"

#include "base/check.hpp"
#include "ops/copy.hpp"
#include "ops/gather.hpp"
#include "ops/pad.hpp"
#include "ops/write_rows.hpp"

namespace sparse_engine {
namespace {

std::shared_ptr<const Plan> copy_of(const NodeContext& at, const std::vector<Index>& sizes, const std::vector<Index>& x_strides,
                                    Index first, const std::vector<Index>& y_strides) {
  std::vector<CopyAxis> axes;
  axes.reserve(sizes.size());
  Index count = 1;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    axes.push_back({sizes[i], x_strides[i], y_strides[i]});
    count *= sizes[i];
  }
  return plan_copy(axes, first, at.threads_for(count / 2));
}

// Every element of the result, read at `first` and along its axes at these strides of x.
PlannedNode copied(const NodeContext& at, const std::vector<Index>& x_strides, Index first) {
  const Index output = at.node.output;
  if (at.view(output).of_input) return {};
  return {.plans = {copy_of(at, at.shape(output), x_strides, first, at.strides(output))}};
}

}  // namespace

PlannedNode planned_concat(const NodeContext& at) {
  PlannedNode planned;
  for (std::size_t i = 0; i < at.node.inputs.size(); ++i) {
    const Index input = at.node.inputs[i];
    const std::vector<Index> sizes = at.shape(input);
    const View part = part_of(at.program, at.node, i, at.view(at.node.output), at.batch);
    planned.plans.push_back(
        same_place(at.view(input), part, sizes) ? nullptr : copy_of(at, sizes, at.strides(input), 0, strides_of(part, sizes)));
  }
  return planned;
}

PlannedNode planned_expand(const NodeContext& at) {
  const Index input = at.node.inputs[0];
  const std::vector<Index> from = at.shape(input), apart = at.strides(input), to = at.shape(at.node.output);
  std::vector<Index> x_strides(to.size(), 0);
  for (std::size_t i = 0; i < from.size(); ++i)
    if (from[i] != 1) x_strides[to.size() - from.size() + i] = apart[i];
  return copied(at, x_strides, 0);
}

PlannedNode planned_prefix(const NodeContext& at) {
  const NodeInfo& node = at.node;
  const std::vector<Index> from = at.shape(node.inputs[0]), to = at.shape(node.output);
  for (std::size_t i = 0; i < from.size(); ++i)
    check(to[i] >= 0 && to[i] <= from[i], "the model holds ", from[i], " positions of ", node.name.empty() ? "it" : node.name,
          "; a call as large as this one needs ", to[i]);
  return copied(at, at.strides(node.inputs[0]), 0);
}

PlannedNode planned_permute(const NodeContext& at) {
  const NodeInfo& node = at.node;
  const std::vector<Index> from = at.shape(node.inputs[0]), apart = at.strides(node.inputs[0]);
  if (same_place(at.view(node.inputs[0]), before(node, at.view(node.output), at.shape(node.output)), from)) return {};
  std::vector<Index> x_strides;
  x_strides.reserve(node.numbers.size());
  for (const Index axis : node.numbers) x_strides.push_back(apart[static_cast<std::size_t>(axis)]);
  return copied(at, x_strides, 0);
}

PlannedNode planned_slice(const NodeContext& at) {
  std::vector<Index> x_strides = at.strides(at.node.inputs[0]);
  Index first = 0;
  for (std::size_t i = 0; i < x_strides.size(); ++i) {
    first += at.node.numbers[3 * i] * x_strides[i];
    x_strides[i] *= at.node.numbers[3 * i + 2];
  }
  return copied(at, x_strides, first);
}

PlannedNode planned_pad(const NodeContext& at) {
  const std::vector<Index>& n = at.node.numbers;
  const std::vector<Index> from = at.shape(at.node.inputs[0]);
  std::vector<PadAxis> axes;
  axes.reserve(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) axes.push_back({n[2 * i], from[i], n[2 * i + 1]});
  return {.plans = {plan_pad(axes, at.threads_for(at.program.elements(at.node.output, at.batch) / 2))}};
}

PlannedNode planned_gather(const NodeContext& at) {
  const std::vector<Index> from = at.shape(at.node.inputs[1]);
  Index width = 1;
  for (std::size_t i = 1; i < from.size(); ++i) width *= from[i];
  const Index count = at.program.elements(at.node.inputs[0], at.batch);
  return {.plans = {plan_gather(count, from[0], width, at.threads_for(count * width / 2))}};
}

PlannedNode planned_write_rows(const NodeContext& at) {
  const std::vector<Index>& inputs = at.node.inputs;
  const std::vector<Index> to = at.shape(inputs[0]), rows = at.shape(inputs[1]), numbers = at.shape(inputs[2]);
  const WrittenRows s{to[0] * to[1], to[2], to[3], rows[2], to[1], numbers[0] == 1 ? 0 : numbers[1]};
  return {.plans = {plan_write_rows(s, at.threads_for(at.program.elements(at.node.output, at.batch) / 2))}};
}

}  // namespace sparse_engine
