#include "session/row_numbers.hpp"

#include <algorithm>
#include <cmath>

#include "base/check.hpp"

namespace sparse_engine {

std::vector<RowNumbers> row_numbers_of(const Program& program) {
  constexpr Index kNone = -1;
  std::vector<Index> source(program.values().size(), kNone);  // the input that a value's elements all come from
  for (std::size_t i = 0; i < program.inputs().size(); ++i)
    source[static_cast<std::size_t>(program.inputs()[i])] = static_cast<Index>(i);
  std::vector<RowNumbers> found;
  for (const NodeInfo& node : program.nodes()) {
    if (node.inputs.empty()) continue;
    const bool writes = node.operation == Operation::write_rows;
    const Index from = source[static_cast<std::size_t>(node.inputs[writes ? 2 : 0])];
    if (from == kNone) continue;
    switch (node.operation) {
      case Operation::reshape:
      case Operation::permute:
      case Operation::expand: source[static_cast<std::size_t>(node.output)] = from; break;
      case Operation::gather:
      case Operation::write_rows: {
        const auto input = static_cast<std::size_t>(from);
        const Index rows = program.values()[static_cast<std::size_t>(node.inputs[writes ? 0 : 1])].shape[writes ? 2 : 0].fixed;
        const auto known = std::find_if(found.begin(), found.end(), [&](const RowNumbers& n) { return n.input == input; });
        if (known == found.end())
          found.push_back({input, rows});
        else
          known->rows = std::min(known->rows, rows);
        break;
      }
      default: break;
    }
  }
  return found;
}

void check_row_numbers(const Program& program, const std::vector<RowNumbers>& numbers, Index batch,
                       const std::vector<const float*>& inputs) {
  for (const RowNumbers& one : numbers) {
    const Index value = program.inputs()[one.input], count = program.elements(value, batch);
    for (Index i = 0; i < count; ++i) {
      const float number = inputs[one.input][i];
      check(number >= 0 && number < static_cast<float>(one.rows) && number == std::floor(number), "element ", i, " of input ",
            program.values()[static_cast<std::size_t>(value)].name, " is ", number,
            "; it is the number of a row of a table and must be whole and lie in [0, ", one.rows, ")");
    }
  }
}

}  // namespace sparse_engine
