#include "session/expansions.hpp"

#include <algorithm>

#include "ops/conv/depthwise.hpp"
#include "ops/conv/planes.hpp"
#include "program/shapes.hpp"

namespace sparse_engine {
namespace {

// Of which the result has the positions of x.
bool is_expansion(const NodeInfo& node, const Conv2dParams& s) {
  return node.residual == -1 && s.groups == 1 && s.stride_h == 1 && s.stride_w == 1 && is_pointwise(s);
}

bool is_depthwise(const Program& program, const NodeInfo& node, const Conv2dParams& s) {
  const WeightInfo& w = program.weights()[static_cast<std::size_t>(node.weight)];
  // No tap is missing; where most are stored all are, zeros too.
  const bool whole = static_cast<Index>(w.values.size()) == w.rows * w.cols &&
                     std::find(w.values.begin(), w.values.end(), 0.0f) == w.values.end();
  return node.residual == -1 && s.groups == w.rows && w.cols == s.kernel_h * s.kernel_w && whole && DepthwiseFilter::knows(s);
}

}  // namespace

std::vector<Index> find_expansions(const Program& program, const std::vector<View>& views, std::size_t apart_until) {
  const std::vector<NodeInfo>& nodes = program.nodes();
  std::vector<Index> makers(program.values().size(), -1), readers(program.values().size(), 0), result(nodes.size(), -1);
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    makers[static_cast<std::size_t>(nodes[n].output)] = static_cast<Index>(n);
    for (const Index input : nodes[n].inputs) ++readers[static_cast<std::size_t>(input)];
    if (nodes[n].residual != -1) ++readers[static_cast<std::size_t>(nodes[n].residual)];
  }
  for (const Index output : program.outputs()) ++readers[static_cast<std::size_t>(output)];
  // What lies in another value, or holds others, has its place there.
  std::vector<bool> alone(program.values().size(), true);
  for (std::size_t v = 0; v < views.size(); ++v)
    if (views[v].root != static_cast<Index>(v)) alone[v] = alone[static_cast<std::size_t>(views[v].root)] = false;
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    if (nodes[n].operation != Operation::conv2d) continue;
    const auto between = static_cast<std::size_t>(nodes[n].inputs[0]);
    const Index maker = makers[between];
    if (maker == -1 || readers[between] != 1 || !alone[between]) continue;
    const NodeInfo& before = nodes[static_cast<std::size_t>(maker)];
    if (before.operation != Operation::conv2d || (static_cast<std::size_t>(maker) < apart_until) != (n < apart_until)) continue;
    if (is_expansion(before, conv_params(before)) && is_depthwise(program, nodes[n], conv_params(nodes[n]))) result[n] = maker;
  }
  return result;
}

}  // namespace sparse_engine
