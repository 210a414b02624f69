#include "program/shapes/moves.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "program/shapes.hpp"
#include "program/shapes/axes.hpp"

namespace sparse_engine {

std::vector<Size> concat_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs) {
  check(!inputs.empty(), "concat ", node.name, " joins nothing");
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

std::vector<Size> reshape_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& declared) {
  for (const Index batch : {1, 2, 3, 5})
    check(elements_at(x, batch) == elements_at(declared, batch), "reshape ", node.name, " makes ", elements_at(declared, batch),
          " elements of ", elements_at(x, batch), " at batch ", batch);
  return declared;
}

std::vector<Size> expand_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& declared) {
  check(declared.size() >= x.size(), "expand ", node.name, " makes ", declared.size(), " axes of ", x.size());
  const std::size_t front = declared.size() - x.size();
  for (std::size_t i = 0; i < x.size(); ++i)
    check(x[i] == declared[front + i] || x[i] == Size{1, 0}, "expand ", node.name, " changes axis ", i,
          ", whose length is not 1");
  return declared;
}

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

std::vector<Size> gather_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& table) {
  check(!table.empty(), "gather ", node.name, " takes rows of a value without axes");
  fixed(node, table[0], "table");
  std::vector<Size> result = x;
  result.insert(result.end(), table.begin() + 1, table.end());
  check(result.size() <= 8, "gather ", node.name, " makes ", result.size(), " axes; at most 8 are supported");
  return result;
}

std::vector<Size> write_rows_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs) {
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

}  // namespace sparse_engine
