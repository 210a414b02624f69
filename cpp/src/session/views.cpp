#include "session/views.hpp"

#include <algorithm>
#include <optional>
#include <utility>

namespace sparse_engine {
namespace {

using Shape = std::vector<Index>;

bool is_contiguous(const Shape& shape, const std::vector<Index>& strides) {
  const std::vector<Index> expected = contiguous_strides(shape);
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i] > 1 && strides[i] != expected[i]) return false;
  return true;
}

// The same elements in the same order as axes of other lengths; none where no strides say that.
std::optional<std::vector<Index>> reshaped(const Shape& from, const std::vector<Index>& strides, const Shape& to) {
  if (std::find(from.begin(), from.end(), 0) != from.end()) return contiguous_strides(to);
  std::vector<Index> result(to.size(), 1);
  std::size_t axis = to.size();
  Index run = 1, made = 1, step = 1;  // what one run of axes that lie in one another holds, and how much of it has found axes
  for (std::size_t i = from.size(); i-- > 0;) {
    if (run == 1) step = strides[i];
    run *= from[i];
    if (i > 0 && (from[i - 1] == 1 || strides[i - 1] == from[i] * strides[i])) continue;
    while (axis > 0 && (made < run || to[axis - 1] == 1)) {
      --axis;
      result[axis] = step * made;
      made *= to[axis];
    }
    if (made != run) return std::nullopt;
    run = made = 1;
  }
  return result;
}

// An axis of length 1 has the stride of nobody: it takes that of a contiguous one, so that runs of axes go through it.
std::vector<Index> without_odd_ones(const Shape& shape, std::vector<Index> strides) {
  Index inner = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 1) strides[i] = inner;
    inner = shape[i] * strides[i];
  }
  return strides;
}

View view_at(Index root, Index offset, const Shape& shape, std::vector<Index> strides) {
  strides = without_odd_ones(shape, std::move(strides));
  if (is_contiguous(shape, strides)) strides.clear();
  return {root, offset, std::move(strides)};
}

bool moves(Operation operation) {
  return operation == Operation::permute || operation == Operation::slice || operation == Operation::expand ||
         operation == Operation::prefix;
}

// Channels may lie anywhere, each contiguous in itself.
bool is_plane_by_plane(const Shape& sizes, const std::vector<Index>& strides) {
  Index plane = 1;
  for (std::size_t i = sizes.size(); i-- > 2;) {
    if (strides[i] != plane && sizes[i] != 1) return false;
    plane *= sizes[i];
  }
  return strides[1] >= plane && (sizes[0] == 1 || strides[0] >= plane);
}

// Whether an operation reads or writes a value that is not contiguous and lies so.
bool takes(Operation operation, const Shape& sizes, const std::vector<Index>& strides) {
  switch (operation) {
    case Operation::concat: return true;
    case Operation::attention: return strides.back() == 1;
    case Operation::linear: return row_stride(sizes, strides) > 0;
    case Operation::conv2d:
    case Operation::conv3d:
    case Operation::max_pool:
    case Operation::average_pool:
    case Operation::adaptive_max_pool:
    case Operation::adaptive_average_pool: return is_plane_by_plane(sizes, strides);
    case Operation::resize: return sizes.size() > 2 && is_plane_by_plane(sizes, strides);  // x and y; not its other operands
    default: return moves(operation);
  }
}

class Viewer {
 public:
  Viewer(const Program& program, Index batch, std::size_t apart_until)
      : program_(program),
        batch_(batch),
        apart_until_(apart_until),
        maker_(program.values().size(), kNone),
        output_(program.values().size(), false),
        readers_(program.values().size()) {
    for (std::size_t v = 0; v < program.values().size(); ++v) views_.push_back({static_cast<Index>(v)});
    for (std::size_t n = 0; n < nodes().size(); ++n) {
      maker_[at(nodes()[n].output)] = n;
      for (std::size_t i = 0; i < nodes()[n].inputs.size(); ++i) readers_[at(nodes()[n].inputs[i])].push_back({n, i});
      if (nodes()[n].residual != -1) readers_[at(nodes()[n].residual)].push_back({n, kResidual});
    }
    for (const Index value : program.outputs()) output_[at(value)] = true;
  }

  std::vector<View> find() {
    for (std::size_t n = nodes().size(); n-- > 0;) place_inputs(n);
    for (std::size_t n = 0; n < nodes().size(); ++n) place_result(n);
    return std::move(views_);
  }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1), kResidual = static_cast<std::size_t>(-2);

  struct Reader {
    std::size_t node, operand;
  };

  static std::size_t at(Index value) { return static_cast<std::size_t>(value); }
  const std::vector<NodeInfo>& nodes() const { return program_.nodes(); }
  Index batch_at(std::size_t n) const { return n < apart_until_ ? 1 : batch_; }
  Shape shape(Index value, std::size_t n) const { return program_.shape(value, batch_at(n)); }
  bool together(std::size_t a, std::size_t b) const { return (a < apart_until_) == (b < apart_until_); }
  bool is_own_root(Index value) const { return views_[at(value)].root == value; }

  // Backwards: what a node reads is made where the node would move it to.
  void place_inputs(std::size_t n) {
    const NodeInfo& node = nodes()[n];
    if (node.operation == Operation::concat) {
      join_parts(n);
      for (std::size_t i = 0; i < node.inputs.size(); ++i)
        place(node.inputs[i], part_of(program_, node, i, views_[at(node.output)], batch_at(n)), n);
    } else if (node.operation == Operation::permute) {
      const auto moved = result_of(node, {node.inputs[0]}, n);
      const std::size_t maker = maker_[at(node.inputs[0])];
      if (maker == kNone || moves(nodes()[maker].operation) || read_by_all(node.output, *moved, n, kNone)) return;
      place(node.inputs[0], before(node, views_[at(node.output)], shape(node.output, n)), n);
    }
  }

  // A concatenation whose inputs are already neighbours in a later one is a part of that.
  void join_parts(std::size_t n) {
    const NodeInfo& node = nodes()[n];
    const View& first = views_[at(node.inputs[0])];
    if (first.root == node.inputs[0] || !is_own_root(node.output) || output_[at(node.output)]) return;
    const std::size_t owner = maker_[at(first.root)];
    if (!together(owner, n)) return;
    const View whole = view_at(first.root, first.offset, shape(node.output, n), strides_of(first, shape(node.inputs[0], n)));
    for (std::size_t i = 0; i < node.inputs.size(); ++i)
      if (!same_place(views_[at(node.inputs[i])], part_of(program_, node, i, whole, batch_at(n)), shape(node.inputs[i], n)))
        return;
    if (read_by_all(node.output, whole, n, kNone)) views_[at(node.output)] = whole;
  }

  // Lets a value be made at `target`, for the node `by`, where its maker and everybody who reads it take that.
  bool place(Index value, const View& target, std::size_t by) {
    const std::size_t n = maker_[at(value)];
    if (n == kNone || !is_own_root(value) || output_[at(value)] || !together(n, by)) return false;
    const NodeInfo& node = nodes()[n];
    const Shape sizes = shape(value, n);
    if (!read_by_all(value, target, n, by)) return false;
    if (node.operation == Operation::reshape) {
      const Shape given = shape(node.inputs[0], n);
      const auto strides = reshaped(sizes, strides_of(target, sizes), given);
      if (!strides || !place(node.inputs[0], view_at(target.root, target.offset, given, *strides), n)) return false;
      views_[at(value)] = target;
      views_[at(value)].of_input = true;
      return true;
    }
    if (!target.contiguous() && (node.residual != -1 || !takes(node.operation, sizes, target.strides))) return false;
    views_[at(value)] = target;
    return true;
  }

  // Forwards: what moves elements is where they were.
  void place_result(std::size_t n) {
    const NodeInfo& node = nodes()[n];
    const bool reshape = node.operation == Operation::reshape;
    if ((!reshape && !moves(node.operation)) || !is_own_root(node.output)) return;
    const View& x = views_[at(node.inputs[0])];
    const auto moved = result_of(node, x, n);
    if (!moved) return;  // a reshape is asked before: what it reads is contiguous, or can be seen so
    if (!reshape && (output_[at(node.output)] || !read_by_all(node.output, *moved, n, kNone))) return;
    views_[at(node.output)] = *moved;
    views_[at(node.output)].of_input = true;
  }

  std::optional<View> result_of(const NodeInfo& node, const View& x, std::size_t n) const {
    const Shape from = shape(node.inputs[0], n), to = shape(node.output, n);
    const std::vector<Index> apart = strides_of(x, from);
    std::vector<Index> strides;
    Index offset = x.offset;
    switch (node.operation) {
      case Operation::reshape: {
        if (x.contiguous()) return View{x.root, x.offset};
        const auto found = reshaped(from, apart, to);
        if (!found) return std::nullopt;
        strides = *found;
        break;
      }
      case Operation::permute:
        for (const Index axis : node.numbers) strides.push_back(apart[at(axis)]);
        break;
      case Operation::prefix: strides = apart; break;
      case Operation::slice:
        for (std::size_t i = 0; i < from.size(); ++i) {
          offset += node.numbers[3 * i] * apart[i];
          strides.push_back(apart[i] * node.numbers[3 * i + 2]);
        }
        break;
      case Operation::expand:
        strides.assign(to.size(), 0);
        for (std::size_t i = 0; i < from.size(); ++i)
          if (from[i] != 1) strides[to.size() - from.size() + i] = apart[i];
        break;
      default: return std::nullopt;
    }
    return view_at(x.root, offset, to, std::move(strides));
  }

  // Whether everybody but `but` reads a value, which the node `n` makes, at such a place.
  bool read_by_all(Index value, const View& where, std::size_t n, std::size_t but) const {
    return std::all_of(readers_[at(value)].begin(), readers_[at(value)].end(), [&](const Reader& reader) {
      return reader.node == but || (together(reader.node, n) && reads(reader, value, where));
    });
  }

  bool reads(const Reader& reader, Index value, const View& where) const {
    if (where.contiguous()) return true;
    if (reader.operand == kResidual) return false;
    const NodeInfo& node = nodes()[reader.node];
    const std::vector<Index>& strides = where.strides;
    if (node.operation == Operation::reshape) {
      const auto seen = result_of(node, where, reader.node);
      if (!seen) return false;
      if (output_[at(node.output)]) return seen->contiguous();
      return is_own_root(node.output) && read_by_all(node.output, *seen, reader.node, kNone);
    }
    if (node.operation == Operation::attention) {
      if (std::any_of(strides.begin(), strides.end(), [](Index stride) { return stride < 0; })) return false;
      if (reader.operand == 3) return strides.back() <= 1 && node.numbers[4] != 2;  // a mask, not positions
    }
    return takes(node.operation, shape(value, reader.node), strides);
  }

  const Program& program_;
  Index batch_;
  std::size_t apart_until_;
  std::vector<View> views_;
  std::vector<std::size_t> maker_;
  std::vector<bool> output_;
  std::vector<std::vector<Reader>> readers_;
};

}  // namespace

std::vector<View> find_views(const Program& program, Index batch, std::size_t apart_until) {
  return Viewer(program, batch, apart_until).find();
}

std::vector<Index> contiguous_strides(const std::vector<Index>& shape) {
  std::vector<Index> result(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) result[i - 1] = result[i] * shape[i];
  return result;
}

std::vector<Index> strides_of(const View& view, const std::vector<Index>& shape) {
  return view.contiguous() ? contiguous_strides(shape) : view.strides;
}

View part_of(const Program& program, const NodeInfo& concat, std::size_t input, const View& result, Index batch) {
  const auto axis = static_cast<std::size_t>(concat.numbers[0]);
  const std::vector<Index> strides = strides_of(result, program.shape(concat.output, batch));
  Index before = 0;
  for (std::size_t i = 0; i < input; ++i) before += program.shape(concat.inputs[i], batch)[axis];
  return view_at(result.root, result.offset + before * strides[axis], program.shape(concat.inputs[input], batch), strides);
}

View before(const NodeInfo& permute, const View& result, const std::vector<Index>& result_shape) {
  const std::vector<Index> apart = strides_of(result, result_shape);
  Shape sizes(apart.size());
  std::vector<Index> strides(apart.size());
  for (std::size_t i = 0; i < apart.size(); ++i) {
    sizes[static_cast<std::size_t>(permute.numbers[i])] = result_shape[i];
    strides[static_cast<std::size_t>(permute.numbers[i])] = apart[i];
  }
  return view_at(result.root, result.offset, sizes, std::move(strides));
}

bool same_place(const View& a, const View& b, const std::vector<Index>& shape) {
  if (a.root != b.root || a.offset != b.offset) return false;
  const std::vector<Index> of_a = strides_of(a, shape), of_b = strides_of(b, shape);
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i] > 1 && of_a[i] != of_b[i]) return false;
  return true;
}

Index row_stride(const std::vector<Index>& shape, const std::vector<Index>& strides) {
  if (shape.empty() || (shape.back() > 1 && strides.back() != 1)) return -1;
  Index step = -1, next = 0;  // of the rows so far, and where the next axis has to go on
  for (std::size_t i = shape.size() - 1; i-- > 0;) {
    if (shape[i] == 1) continue;
    if (step != -1 && strides[i] != next) return -1;
    if (step == -1) step = strides[i];
    next = strides[i] * shape[i];
  }
  return step == -1 ? shape.back() : step;
}

}  // namespace sparse_engine
