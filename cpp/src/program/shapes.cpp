#include "program/shapes.hpp"

#include <algorithm>
#include <string>

#include "base/check.hpp"
#include "ops/pool.hpp"

namespace sparse_engine {
namespace {

Index fixed(const NodeInfo& node, const Size& size, const char* axis) {
  check(size.per_item == 0, "the ", axis, " of what ", name_of(node.operation), " ", node.name,
        " reads depends on the batch; it must not");
  return size.fixed;
}

// Of (N, C, H, W), or of (N, C, W) with height 1.
struct Plane {
  Index height, width;
};

Plane plane_of(const NodeInfo& node, const std::vector<Size>& x) {
  check(x.size() == 3 || x.size() == 4, name_of(node.operation), " ", node.name, " reads a value of ", x.size(),
        " axes; it needs 4, or 3");
  return {x.size() == 4 ? fixed(node, x[2], "height") : 1, fixed(node, x.back(), "width")};
}

std::vector<Size> with_plane(const NodeInfo& node, const std::vector<Size>& x, Index channels, const Plane& plane) {
  if (x.size() == 4) return {x[0], {channels, 0}, {plane.height, 0}, {plane.width, 0}};
  check(plane.height == 1, name_of(node.operation), " ", node.name, " makes height ", plane.height,
        " of a value of 3 axes; it must be 1");
  return {x[0], {channels, 0}, {plane.width, 0}};
}

// The numbers of a convolution over two axes, from the one at `first` on.
Conv2dParams plane_params(const NodeInfo& node, std::size_t first) {
  const Index* const n = node.numbers.data() + first;
  return {n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10]};
}

void check_weight(const NodeInfo& node, Index channels, Index groups, Index cells, const WeightInfo& w) {
  check(groups >= 1 && channels % groups == 0 && w.rows % groups == 0, name_of(node.operation), " ", node.name, " has ", groups,
        " groups; they must divide its ", channels, " input and ", w.rows, " output channels");
  const Index cols = checked_mul(channels / groups, cells, "columns");
  check(w.cols == cols, name_of(node.operation), " ", node.name, " has a weight of ", w.cols, " columns; it needs ", cols);
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

std::vector<Size> concat_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs) {
  std::vector<Size> result = inputs[0];
  const Index axis = node.numbers[0];
  check(axis >= 0 && static_cast<std::size_t>(axis) < result.size(), "concat ", node.name, " is along axis ", axis,
        "; it must lie in [0, ", result.size(), ")");
  const auto along = static_cast<std::size_t>(axis);
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    check(inputs[i].size() == result.size(), "concat ", node.name, " joins values of ", result.size(), " and ",
          inputs[i].size(), " axes");
    for (std::size_t a = 0; a < result.size(); ++a)
      check(a == along || inputs[i][a] == result[a], "concat ", node.name, " joins values that differ in axis ", a);
    result[along].fixed = checked_add(result[along].fixed, inputs[i][along].fixed, "concat");
    result[along].per_item = checked_add(result[along].per_item, inputs[i][along].per_item, "concat");
  }
  return result;
}

std::vector<Size> expand_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& declared) {
  check(declared.size() >= x.size(), "expand ", node.name, " makes ", declared.size(), " axes of ", x.size());
  const std::size_t front = declared.size() - x.size();
  for (std::size_t i = 0; i < x.size(); ++i)
    check(x[i] == declared[front + i] || x[i] == Size{1, 0}, "expand ", node.name, " changes axis ", i,
          ", whose length is not 1");
  return declared;
}

// A session checks that there is as much when it knows the batch.
std::vector<Size> prefix_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& declared) {
  check(declared.size() == x.size(), "prefix ", node.name, " makes ", declared.size(), " axes of ", x.size());
  for (const Size& size : x) fixed(node, size, "axis");
  return declared;
}

std::vector<Size> permute_result(const NodeInfo& node, const std::vector<Size>& x) {
  std::vector<Size> result;
  std::vector<bool> taken(x.size(), false);
  for (const Index axis : node.numbers) {
    check(axis >= 0 && static_cast<std::size_t>(axis) < x.size() && !taken[static_cast<std::size_t>(axis)], "permute ",
          node.name, " names axis ", axis, " of ", x.size(), "; it needs each of them once");
    taken[static_cast<std::size_t>(axis)] = true;
    result.push_back(x[static_cast<std::size_t>(axis)]);
  }
  return result;
}

std::vector<Size> slice_result(const NodeInfo& node, const std::vector<Size>& x) {
  std::vector<Size> result = x;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const Index start = node.numbers[3 * i], stop = node.numbers[3 * i + 1], step = node.numbers[3 * i + 2];
    if (x[i].per_item != 0) {
      if (start == 0 && stop == -1 && step == 1) continue;
      // There is at least one item.
      check(start >= 0 && start <= stop && stop <= x[i].at(1) && step == 1, "slice ", node.name, " takes [", start, ", ", stop,
            ") in steps of ", step, " of axis ", i, ", which depends on the batch");
      result[i] = {stop - start, 0};
      continue;
    }
    const bool inside = step > 0 ? start >= 0 && start <= stop && stop <= x[i].fixed
                                 : step < 0 && stop >= -1 && stop <= start && start < x[i].fixed;
    check(inside, "slice ", node.name, " takes [", start, ", ", stop, ") in steps of ", step, " of axis ", i, " with length ",
          x[i].fixed);
    result[i].fixed = step > 0 ? (stop - start + step - 1) / step : (start - stop - step - 1) / -step;
  }
  return result;
}

std::vector<Size> pad_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& number) {
  check(number.empty(), "pad ", node.name, " fills in a value of ", number.size(), " axes; it must be a number");
  std::vector<Size> result = x;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const Index before = node.numbers[2 * i], after = node.numbers[2 * i + 1];
    check(before >= 0 && after >= 0, "pad ", node.name, " adds ", std::min(before, after), " to axis ", i,
          "; it must not be negative");
    result[i].fixed = checked_add(result[i].fixed, checked_add(before, after, "padding"), "padding");
  }
  return result;
}

// Layer norm with a weight and a bias, or neither; RMS norm with a weight or none.
void check_norm(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs) {
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
}

std::vector<Size> gather_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& table) {
  check(!table.empty(), "gather ", node.name, " takes rows of a value without axes");
  fixed(node, table[0], "table");
  std::vector<Size> result = x;
  result.insert(result.end(), table.begin() + 1, table.end());
  check(result.size() <= 8, "gather ", node.name, " makes ", result.size(), " axes; at most 8 are supported");
  return result;
}

std::vector<Size> written_rows(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs) {
  const std::vector<Size>&x = inputs[0], &rows = inputs[1], &numbers = inputs[2];
  check(x.size() == 4 && rows.size() == 4 && numbers.size() == 2, "write_rows ", node.name, " reads values of ", x.size(), ", ",
        rows.size(), " and ", numbers.size(), " axes; it needs 4, 4 and 2");
  check(rows[0] == x[0] && rows[1] == x[1] && rows[3] == x[3], "write_rows ", node.name,
        " writes rows that do not fit what they are written to");
  fixed(node, x[2], "rows");
  fixed(node, x[3], "features");
  check((numbers[0] == x[0] || numbers[0] == Size{1, 0}) && numbers[1] == rows[2], "write_rows ", node.name,
        " has numbers of another shape than its rows need");
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

}  // namespace

AttentionAxes attention_axes(const std::vector<Size>& shape, Index heads_axis) {
  return {shape[0], shape[static_cast<std::size_t>(heads_axis)], shape[static_cast<std::size_t>(3 - heads_axis)], shape[3]};
}

Conv2dParams conv_params(const NodeInfo& node) { return plane_params(node, 0); }

Conv3dParams conv3d_params(const NodeInfo& node) {
  const std::vector<Index>& n = node.numbers;
  return {n[0], n[1], n[2], n[3], n[4], plane_params(node, 5)};
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
    case Operation::linear: {
      needs(1);
      check(!inputs[0].empty(), "linear ", node.name, " reads a value without axes");
      check(fixed(node, inputs[0].back(), "features") == weight->cols, "linear ", node.name, " reads ", inputs[0].back().fixed,
            " features; its weight has ", weight->cols, " columns");
      std::vector<Size> result = inputs[0];
      result.back() = {weight->rows, 0};
      return result;
    }
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
    case Operation::keep:
      needs(2);
      check(broadcast_axes(inputs[0], inputs[1]).has_value(), name_of(node.operation), " ", node.name,
            " has a second operand that is not broadcast along whole leading and trailing axes");
      return inputs[0];
    case Operation::activation: needs(1); return inputs[0];
    case Operation::concat: check(!inputs.empty(), "concat ", node.name, " joins nothing"); return concat_result(node, inputs);
    case Operation::reshape: {
      needs(1);
      for (const Index batch : {1, 2, 3, 5})
        check(elements_at(inputs[0], batch) == elements_at(declared, batch), "reshape ", node.name, " makes ",
              elements_at(declared, batch), " elements of ", elements_at(inputs[0], batch), " at batch ", batch);
      return declared;
    }
    case Operation::expand: needs(1); return expand_result(node, inputs[0], declared);
    case Operation::prefix: needs(1); return prefix_result(node, inputs[0], declared);
    case Operation::permute: needs(1); return permute_result(node, inputs[0]);
    case Operation::slice: needs(1); return slice_result(node, inputs[0]);
    case Operation::pad: needs(2); return pad_result(node, inputs[0], inputs[1]);
    case Operation::softmax:
      needs(1);
      check(!inputs[0].empty(), "softmax ", node.name, " reads a value without axes");
      return inputs[0];
    case Operation::layer_norm:
    case Operation::rms_norm: check_norm(node, inputs); return inputs[0];
    case Operation::gather: needs(2); return gather_result(node, inputs[0], inputs[1]);
    case Operation::write_rows: needs(3); return written_rows(node, inputs);
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
