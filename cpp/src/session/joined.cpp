#include "session/joined.hpp"

#include <algorithm>
#include <optional>

#include "program/shapes.hpp"

namespace sparse_engine {
namespace {

// The axis along which calls follow one another: the only one that grows, as fast as the size, behind axes of length 1. Then
// the value at the sum of the sizes is those of the calls, one behind the other.
std::optional<std::size_t> axis_of_rows(const std::vector<Size>& shape) {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i].per_item == 0 && (found || shape[i].fixed == 1)) continue;
    if (found || shape[i] != Size{0, 1}) return std::nullopt;
    found = i;
  }
  return found;
}

// The axis of rows of a value whose rows lie as far apart as the calls' do: those of a part of each row too, but nothing that
// lies in a constant.
std::optional<std::size_t> axis_of_joined_rows(const Program& program, Index v, const std::vector<View>& views, Index sum) {
  const auto value = [&](Index i) -> const ValueInfo& { return program.values()[static_cast<std::size_t>(i)]; };
  const View& view = views[static_cast<std::size_t>(v)];
  const auto axis = axis_of_rows(value(v).shape);
  if (!axis || value(view.root).constant != -1 || !axis_of_rows(value(view.root).shape)) return std::nullopt;
  const Index row = program.elements(view.root, 1);
  const bool lies = view.offset < row && strides_of(view, program.shape(v, sum))[*axis] == row;
  return lies ? axis : std::nullopt;
}

class Judge {
 public:
  Judge(const Program& program, const NodeInfo& node, const std::vector<View>& views, Index sum)
      : program_(program), node_(node), views_(views), sum_(sum) {}

  bool takes_rows() const {
    const auto y = rows_of(node_.output);
    if (!y || (node_.residual != -1 && from_the_end(node_.residual) != from_the_end(node_.output))) return false;
    const Index x = node_.inputs[0];
    switch (node_.operation) {
      case Operation::activation: return from_the_end(x) == from_the_end(node_.output);
      case Operation::linear:
      case Operation::softmax: return behind(x, 1);
      case Operation::layer_norm:
      case Operation::rms_norm:
      case Operation::mean:
      case Operation::sum: return behind(x, static_cast<std::size_t>(node_.numbers[0])) && rest_is_constant();
      case Operation::gather: return rows_of(x) == y && rest_is_constant();
      default: return is_elementwise(node_.operation) && binary();
    }
  }

 private:
  const ValueInfo& value(Index v) const { return program_.values()[static_cast<std::size_t>(v)]; }
  bool is_constant(Index v) const { return value(v).constant != -1; }

  std::optional<std::size_t> rows_of(Index v) const { return axis_of_joined_rows(program_, v, views_, sum_); }

  // How many axes a value has from that of rows on; 0 without one.
  std::size_t from_the_end(Index v) const {
    const auto axis = rows_of(v);
    return axis ? value(v).shape.size() - *axis : 0;
  }

  // Whether a value's last axes are all of one row.
  bool behind(Index v, std::size_t axes) const { return from_the_end(v) > axes; }

  bool rest_is_constant() const {
    return std::all_of(node_.inputs.begin() + 1, node_.inputs.end(), [&](Index v) { return is_constant(v); });
  }

  // A constant says the same of every row: one that grew with them would be no constant.
  bool binary() const {
    const std::size_t rows = from_the_end(node_.output);
    return from_the_end(node_.inputs[0]) == rows && (is_constant(node_.inputs[1]) || from_the_end(node_.inputs[1]) == rows);
  }

  const Program& program_;
  const NodeInfo& node_;
  const std::vector<View>& views_;
  Index sum_;
};

}  // namespace

bool takes_joined_rows(const Program& program, const NodeInfo& node, const std::vector<View>& views, Index sum) {
  return Judge(program, node, views, sum).takes_rows();
}

bool lie_alike(const Program& program, const std::vector<View>& joined, Index sum, const std::vector<View>& alone, Index size) {
  for (std::size_t v = 0; v < joined.size(); ++v) {
    const auto value = static_cast<Index>(v);
    if (joined[v].root != alone[v].root) return false;
    const auto axis = axis_of_joined_rows(program, value, joined, sum);
    if (!axis) continue;
    const std::vector<Index> sizes = program.shape(value, size), apart = strides_of(alone[v], sizes),
                             together = strides_of(joined[v], program.shape(value, sum));
    if (joined[v].offset != alone[v].offset) return false;
    for (std::size_t i = *axis; i < sizes.size(); ++i)
      if (sizes[i] > 1 && apart[i] != together[i]) return false;
  }
  return true;
}

}  // namespace sparse_engine
