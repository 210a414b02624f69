#include "session/steps.hpp"

#include <algorithm>

#include "program/shapes.hpp"
#include "session/steps/computed.hpp"
#include "session/steps/moves.hpp"
#include "session/steps/node_context.hpp"
#include "session/steps/products.hpp"

namespace sparse_engine {
namespace {

const char* name_of(Strategy strategy) {
  switch (strategy) {
    case Strategy::gemv: return "gemv";
    case Strategy::panels: return "panels";
    case Strategy::in_place: return "panels in place";
    case Strategy::planes: return "planes";
    case Strategy::banded: return "bands of planes";
    case Strategy::depthwise: return "depthwise planes";
    case Strategy::expanded: return "expanded depthwise planes";
    case Strategy::elementwise: return "elementwise";
    case Strategy::pool: return "pool";
    case Strategy::resize: return "resize";
    case Strategy::rows: return "rows";
    case Strategy::copy: return "copy";
    case Strategy::pad: return "pad";
    case Strategy::gather: return "gather";
    case Strategy::write_rows: return "write rows";
    case Strategy::matmul: return "matmul";
    case Strategy::attention: return "attention";
    case Strategy::recurrent: return "recurrence";
  }
  return "";
}

PlannedNode planned(const NodeContext& at) {
  switch (at.node.operation) {
    case Operation::conv2d: return planned_conv(at);
    case Operation::conv3d: return planned_conv3d(at);
    case Operation::linear: return planned_linear(at);
    case Operation::max_pool:
    case Operation::average_pool: return planned_pool(at);
    case Operation::adaptive_max_pool:
    case Operation::adaptive_average_pool: return planned_adaptive_pool(at);
    case Operation::resize: return planned_resize(at);
    case Operation::mean:
    case Operation::sum: return planned_mean(at);
    case Operation::add: return planned_binary(at, BinaryOp::add);
    case Operation::subtract: return planned_binary(at, BinaryOp::subtract);
    case Operation::multiply: return planned_binary(at, BinaryOp::multiply);
    case Operation::divide: return planned_binary(at, BinaryOp::divide);
    case Operation::maximum: return planned_binary(at, BinaryOp::maximum);
    case Operation::minimum: return planned_binary(at, BinaryOp::minimum);
    case Operation::less: return planned_binary(at, BinaryOp::less);
    case Operation::less_equal: return planned_binary(at, BinaryOp::less_equal);
    case Operation::equal: return planned_binary(at, BinaryOp::equal);
    case Operation::keep: return planned_binary(at, BinaryOp::keep);
    case Operation::activation: return planned_binary(at, BinaryOp::first);
    case Operation::concat: return planned_concat(at);
    case Operation::reshape: return {};
    case Operation::expand: return planned_expand(at);
    case Operation::prefix: return planned_prefix(at);
    case Operation::permute: return planned_permute(at);
    case Operation::slice: return planned_slice(at);
    case Operation::pad: return planned_pad(at);
    case Operation::softmax: return planned_softmax(at);
    case Operation::layer_norm:
    case Operation::rms_norm: return planned_norm(at);
    case Operation::gather: return planned_gather(at);
    case Operation::write_rows: return planned_write_rows(at);
    case Operation::matmul: return planned_matmul(at);
    case Operation::attention: return planned_attention(at);
    case Operation::lstm: return planned_recurrence(at, Cell::lstm);
    case Operation::gru: return planned_recurrence(at, Cell::gru);
  }
  return {};
}

}  // namespace

PlannedNode plan_node(const Kernels& table, Weights& weights, const NodeInfo& node, const std::vector<View>& views, Index batch,
                      int threads, const NodeInfo* expansion) {
  PlannedNode made = planned({table, weights, weights.program(), node, views, batch, threads, expansion});
  const auto some = std::find_if(made.plans.begin(), made.plans.end(), [](const auto& plan) { return plan; });
  if (some != made.plans.end()) {
    made.kernel = name_of((*some)->strategy());
    if (made.weight) made.kernel += std::string(", ") + name_of(made.format);
  }
  return made;
}

Index columns_of_item(const Program& program, const NodeInfo& node) {
  const std::vector<Index> shape = program.shape(node.output, 1);
  Index columns = 1;
  if (is_recurrent(node.operation)) return columns;  // one after another
  if (is_convolution(node.operation))
    for (std::size_t i = 2; i < shape.size(); ++i) columns *= shape[i];
  else
    for (std::size_t i = 0; i + 1 < shape.size(); ++i) columns *= shape[i];
  return columns;
}

}  // namespace sparse_engine
