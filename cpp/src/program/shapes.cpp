#include "program/shapes.hpp"

#include "base/check.hpp"
#include "program/shapes/computed.hpp"
#include "program/shapes/moves.hpp"
#include "program/shapes/products.hpp"

namespace sparse_engine {
namespace {

// The numbers of a convolution over two axes, from the one at `first` on.
Conv2dParams plane_params(const NodeInfo& node, std::size_t first) {
  const Index* const n = node.numbers.data() + first;
  return {n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10]};
}

}  // namespace

Conv2dParams conv_params(const NodeInfo& node) { return plane_params(node, 0); }

Conv3dParams conv3d_params(const NodeInfo& node) {
  const std::vector<Index>& n = node.numbers;
  return {n[0], n[1], n[2], n[3], n[4], plane_params(node, 5)};
}

AttentionAxes attention_axes(const std::vector<Size>& shape, Index heads_axis) {
  return {shape[0], shape[static_cast<std::size_t>(heads_axis)], shape[static_cast<std::size_t>(3 - heads_axis)], shape[3]};
}

bool is_convolution(Operation operation) { return operation == Operation::conv2d || operation == Operation::conv3d; }

bool is_elementwise(Operation operation) {
  return (operation >= Operation::add && operation <= Operation::keep) || operation == Operation::activation;
}

bool is_recurrent(Operation operation) { return operation == Operation::lstm || operation == Operation::gru; }

std::optional<BroadcastAxes> broadcast_axes(const std::vector<Size>& x, const std::vector<Size>& b) {
  const Size one{1, 0};
  if (b.size() > x.size()) return std::nullopt;
  std::vector<Size> aligned(x.size() - b.size(), one);
  aligned.insert(aligned.end(), b.begin(), b.end());
  std::size_t begin = 0, end = x.size();
  while (begin < end && aligned[begin] == one) ++begin;
  while (end > begin && aligned[end - 1] == one) --end;
  // An axis of length 1 under another of length 1 belongs to either side.
  for (std::size_t i = begin; i < end; ++i)
    if (aligned[i] != x[i]) return std::nullopt;
  return BroadcastAxes{begin, x.size() - end};
}

std::vector<Size> result_shape(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs, const WeightInfo* weight,
                               const std::vector<Size>& declared) {
  const auto needs = [&](std::size_t count) {
    check(inputs.size() == count, name_of(node.operation), " ", node.name, " has ", inputs.size(), " inputs; it needs ", count);
  };
  switch (node.operation) {
    case Operation::conv2d: needs(1); return conv_result(node, inputs[0], *weight);
    case Operation::conv3d: needs(1); return conv3d_result(node, inputs[0], *weight);
    case Operation::linear: needs(1); return linear_result(node, inputs[0], *weight);
    case Operation::max_pool:
    case Operation::average_pool: needs(1); return pool_result(node, inputs[0]);
    case Operation::adaptive_max_pool:
    case Operation::adaptive_average_pool: needs(1); return adaptive_result(node, inputs[0]);
    case Operation::resize: needs(3); return resize_result(node, inputs);
    case Operation::mean:
    case Operation::sum: needs(1); return mean_result(node, inputs[0]);
    case Operation::add:
    case Operation::subtract:
    case Operation::multiply:
    case Operation::divide:
    case Operation::maximum:
    case Operation::minimum:
    case Operation::less:
    case Operation::less_equal:
    case Operation::equal:
    case Operation::keep: needs(2); return binary_result(node, inputs[0], inputs[1]);
    case Operation::activation: needs(1); return inputs[0];
    case Operation::concat: return concat_result(node, inputs);
    case Operation::reshape: needs(1); return reshape_result(node, inputs[0], declared);
    case Operation::expand: needs(1); return expand_result(node, inputs[0], declared);
    case Operation::prefix: needs(1); return prefix_result(node, inputs[0], declared);
    case Operation::permute: needs(1); return permute_result(node, inputs[0]);
    case Operation::slice: needs(1); return slice_result(node, inputs[0]);
    case Operation::pad: needs(2); return pad_result(node, inputs[0], inputs[1]);
    case Operation::softmax: needs(1); return softmax_result(node, inputs[0]);
    case Operation::layer_norm:
    case Operation::rms_norm: return norm_result(node, inputs);
    case Operation::gather: needs(2); return gather_result(node, inputs[0], inputs[1]);
    case Operation::write_rows: needs(3); return write_rows_result(node, inputs);
    case Operation::matmul: needs(2); return matmul_result(node, inputs[0], inputs[1]);
    case Operation::attention: return attention_result(node, inputs);
    case Operation::lstm:
    case Operation::gru: return recurrent_result(node, inputs, *weight);
  }
  check(false, "node ", node.name, " has no operation of this version");
  return {};
}

Index elements_at(const std::vector<Size>& shape, Index batch) {
  Index count = 1;
  for (const Size& size : shape) {
    const Index length = checked_add(size.fixed, checked_mul(size.per_item, batch, "size"), "size");
    check(length >= 0, "a size is ", length, "; it must not be negative");
    count = checked_mul(count, length, "elements");
  }
  return count;
}

}  // namespace sparse_engine
