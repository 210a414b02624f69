#include "program/shapes/products.hpp"

#include "base/check.hpp"
#include "program/shapes.hpp"
#include "program/shapes/axes.hpp"

namespace sparse_engine {
namespace {

void check_weight(const NodeInfo& node, Index channels, Index groups, Index cells, const WeightInfo& w) {
  check(groups >= 1 && channels % groups == 0 && w.rows % groups == 0, name_of(node.operation), " ", node.name, " has ", groups,
        " groups; they must divide its ", channels, " input and ", w.rows, " output channels");
  const Index cols = checked_mul(channels / groups, cells, "columns");
  check(w.cols == cols, name_of(node.operation), " ", node.name, " has a weight of ", w.cols, " columns; it needs ", cols);
}

}  // namespace

std::vector<Size> linear_result(const NodeInfo& node, const std::vector<Size>& x, const WeightInfo& w) {
  check(!x.empty(), "linear ", node.name, " reads a value without axes");
  check(fixed(node, x.back(), "features") == w.cols, "linear ", node.name, " reads ", x.back().fixed,
        " features; its weight has ", w.cols, " columns");
  std::vector<Size> result = x;
  result.back() = {w.rows, 0};
  return result;
}

std::vector<Size> conv_result(const NodeInfo& node, const std::vector<Size>& x, const WeightInfo& w) {
  const Plane in = plane_of(node, x);
  const Conv2dParams s = conv_params(node);
  const OutputSize out = conv2d_output_size(s, in.height, in.width);
  check_weight(node, fixed(node, x[1], "channels"), s.groups, checked_mul(s.kernel_h, s.kernel_w, "kernel"), w);
  return with_plane(node, x, w.rows, {out.height, out.width});
}

std::vector<Size> conv3d_result(const NodeInfo& node, const std::vector<Size>& x, const WeightInfo& w) {
  check(x.size() == 5, "conv3d ", node.name, " reads a value of ", x.size(), " axes; it needs 5");
  const Conv3dParams s = conv3d_params(node);
  const OutputVolume out =
      conv3d_output_size(s, fixed(node, x[2], "depth"), fixed(node, x[3], "height"), fixed(node, x[4], "width"));
  const Index cells = checked_mul(s.kernel_d, checked_mul(s.plane.kernel_h, s.plane.kernel_w, "kernel"), "kernel");
  check_weight(node, fixed(node, x[1], "channels"), s.plane.groups, cells, w);
  return {x[0], {w.rows, 0}, {out.depth, 0}, {out.height, 0}, {out.width, 0}};
}

std::vector<Size> recurrent_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs, const WeightInfo& w) {
  const bool lstm = node.operation == Operation::lstm;
  check(inputs.size() == 1 || inputs.size() == 2, name_of(node.operation), " ", node.name, " has ", inputs.size(),
        " inputs; it needs 1, or 2 with a state");
  for (const Index number : node.numbers)
    check(number == 0 || number == 1, name_of(node.operation), " ", node.name, " has the number ", number,
          "; it must be 0 or 1");
  std::vector<Size> result = inputs[0];
  check(result.size() == 3, name_of(node.operation), " ", node.name, " reads a value of ", result.size(), " axes; it needs 3");
  const Index rows = checked_mul(lstm ? 4 : 3, w.cols, "gates");
  check(w.rows == rows || w.rows == checked_mul(2, rows, "gates"), name_of(node.operation), " ", node.name, " has a weight of ",
        w.rows, " rows; ", w.cols, " hidden units need ", rows, ", or twice as many");
  check(fixed(node, result[2], "features") == w.rows, name_of(node.operation), " ", node.name, " reads ", result[2].fixed,
        " features; its weight has ", w.rows, " rows");
  const auto batch = static_cast<std::size_t>(node.numbers[0]);
  Size& time = result[1 - batch];
  check(time.at(1) >= 1, name_of(node.operation), " ", node.name, " reads a sequence without steps");
  const Index directions = w.rows / rows;
  if (inputs.size() == 2)
    check(inputs[1] == std::vector<Size>({{directions * (lstm ? 2 : 1), 0}, result[batch], {w.cols, 0}}),
          name_of(node.operation), " ", node.name, " begins with a state of another shape than its batch and weight need");
  if (lstm) time.fixed = checked_add(time.fixed, node.numbers[1], "steps");
  result[2] = {directions * w.cols, 0};
  return result;
}

}  // namespace sparse_engine
