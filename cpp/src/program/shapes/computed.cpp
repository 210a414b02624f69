#include "program/shapes/computed.hpp"

#include "base/check.hpp"
#include "ops/pool.hpp"
#include "program/shapes.hpp"
#include "program/shapes/axes.hpp"

namespace sparse_engine {

std::vector<Size> pool_result(const NodeInfo& node, const std::vector<Size>& x) {
  const Plane in = plane_of(node, x);
  const std::vector<Index>& n = node.numbers;
  return with_plane(node, x, fixed(node, x[1], "channels"),
                    {pooled_size(in.height, n[0], n[2], n[4], n[6]), pooled_size(in.width, n[1], n[3], n[5], n[7])});
}

std::vector<Size> adaptive_result(const NodeInfo& node, const std::vector<Size>& x) {
  const Plane in = plane_of(node, x), out{node.numbers[0], node.numbers[1]};
  check(in.height >= 1 && in.width >= 1 && out.height >= 1 && out.width >= 1, name_of(node.operation), " ", node.name,
        " makes ", out.height, " × ", out.width, " of ", in.height, " × ", in.width, "; all must be at least 1");
  return with_plane(node, x, fixed(node, x[1], "channels"), out);
}

std::vector<Size> resize_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs) {
  const Plane in = plane_of(node, inputs[0]);
  Index out[2];
  for (std::size_t i = 0; i < 2; ++i) {
    const std::vector<Size>& places = inputs[i + 1];
    check(places.size() == 2 && places[0] == Size{2, 0}, "resize ", node.name, " reads places of ", i == 0 ? "rows" : "columns",
          " that are not (2, size)");
    out[i] = fixed(node, places[1], "places");
  }
  constexpr Index kLongest = Index{1} << 24;  // a float counts whole numbers so far
  check(in.height >= 1 && in.width >= 1 && in.height <= kLongest && in.width <= kLongest && out[0] >= 1 && out[1] >= 1,
        "resize ", node.name, " makes ", out[0], " × ", out[1], " of ", in.height, " × ", in.width,
        "; all must be at least 1, and those of what it reads at most 2²⁴");
  return with_plane(node, inputs[0], fixed(node, inputs[0][1], "channels"), {out[0], out[1]});
}

std::vector<Size> mean_result(const NodeInfo& node, const std::vector<Size>& x) {
  const Index axes = node.numbers[0];
  check(axes >= 1 && static_cast<std::size_t>(axes) < x.size(), name_of(node.operation), " ", node.name, " goes over ", axes,
        " axes of ", x.size());
  std::vector<Size> result(x.begin(), x.end() - axes);
  if (node.numbers[1] != 0) result.insert(result.end(), static_cast<std::size_t>(axes), Size{1, 0});
  return result;
}

std::vector<Size> binary_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& b) {
  check(broadcast_axes(x, b).has_value(), name_of(node.operation), " ", node.name,
        " has a second operand that is not broadcast along whole leading and trailing axes");
  return x;
}

std::vector<Size> softmax_result(const NodeInfo& node, const std::vector<Size>& x) {
  check(!x.empty(), "softmax ", node.name, " reads a value without axes");
  return x;
}

// Layer norm with a weight and a bias, or neither; RMS norm with a weight or none.
std::vector<Size> norm_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs) {
  const auto name = name_of(node.operation);
  const std::vector<Size>& x = inputs[0];
  const Index axes = node.numbers[0];
  const std::size_t most = node.operation == Operation::layer_norm ? 4 : 3;
  check(inputs.size() == 2 || inputs.size() == most, name, " ", node.name, " has ", inputs.size(), " inputs; it needs 2 or ",
        most);
  check(axes >= 1 && static_cast<std::size_t>(axes) < x.size(), name, " ", node.name, " goes over ", axes, " axes of ",
        x.size());
  check(inputs[1].empty(), "epsilon of ", name, " ", node.name, " has ", inputs[1].size(), " axes; it must be a number");
  const std::vector<Size> last(x.end() - axes, x.end());
  for (const Size& size : last) fixed(node, size, "last axis");
  for (std::size_t i = 2; i < inputs.size(); ++i)
    check(inputs[i] == last, i == 2 ? "weight" : "bias", " of ", name, " ", node.name, " has another shape than its last axes");
  return x;
}

std::vector<Size> matmul_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& b) {
  check(x.size() >= 2 && x.size() == b.size(), "matmul ", node.name, " multiplies values of ", x.size(), " and ", b.size(),
        " axes; both need as many, and at least 2");
  const std::size_t last = x.size() - 1, rows = node.numbers[0] != 0 ? last : last - 1;
  check(x[last] == b[rows], "matmul ", node.name, " sums over ", x[last].fixed, " columns and ", b[rows].fixed, " rows");
  for (std::size_t i = 0; i + 1 < last; ++i) check(x[i] == b[i], "matmul ", node.name, " has factors that differ in axis ", i);
  std::vector<Size> result = x;
  result[last] = b[rows == last ? last - 1 : last];
  return result;
}

std::vector<Size> attention_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs) {
  check(inputs.size() == 3 || inputs.size() == 4, "attention ", node.name, " has ", inputs.size(), " inputs; it needs 3 or 4");
  check(node.numbers[4] >= 0 && node.numbers[4] <= 2, "attention ", node.name, " sees keys in the way ", node.numbers[4],
        "; it must be 0, 1 or 2");
  const bool by_position = node.numbers[4] == 2;
  check(!by_position || inputs.size() == 4, "attention ", node.name, " has no positions");
  for (std::size_t i = 0; i < 4; ++i)
    check(node.numbers[i] == 1 || node.numbers[i] == 2, "attention ", node.name, " has heads along axis ", node.numbers[i],
          "; they lie along 1 or 2");
  for (std::size_t i = 0; i < inputs.size(); ++i)
    check(inputs[i].size() == (i == 3 && by_position ? 2 : 4), "attention ", node.name, " reads a value of ", inputs[i].size(),
          " axes; it needs 4, and 2 of positions");
  const AttentionAxes q = attention_axes(inputs[0], node.numbers[0]), k = attention_axes(inputs[1], node.numbers[1]),
                      v = attention_axes(inputs[2], node.numbers[2]);
  check(k.batch == q.batch && v.batch == q.batch && v.heads == k.heads && v.tokens == k.tokens && q.features == k.features,
        "attention ", node.name, " has q, k and v that do not fit together");
  const Index heads = fixed(node, q.heads, "heads"), of = fixed(node, k.heads, "heads");
  check(of >= 1 && heads % of == 0, "attention ", node.name, " has ", heads, " heads of queries and ", of,
        " of keys, which must divide them");
  check(fixed(node, q.features, "features") >= 1, "attention ", node.name, " has heads without features");
  fixed(node, v.features, "features");
  if (by_position)
    check((inputs[3][0] == q.batch || inputs[3][0] == Size{1, 0}) && inputs[3][1] == q.tokens, "attention ", node.name,
          " has positions of another shape than its queries need");
  else if (inputs.size() == 4) {
    const std::vector<Size> scores = {q.batch, q.heads, q.tokens, k.tokens};
    for (std::size_t i = 0; i < 4; ++i)
      check(inputs[3][i] == scores[i] || inputs[3][i] == Size{1, 0}, "mask of attention ", node.name,
            " is not broadcast to its scores along axis ", i);
  }
  return node.numbers[3] == 1 ? std::vector<Size>{q.batch, q.heads, q.tokens, v.features}
                              : std::vector<Size>{q.batch, q.tokens, q.heads, v.features};
}

}  // namespace sparse_engine
