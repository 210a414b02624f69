#include "session/apart.hpp"

#include <algorithm>

#include "base/tuning.hpp"
#include "session/steps.hpp"

namespace sparse_engine {
namespace {

// One image after another: the first axis is the batch, and nothing else depends on it.
bool by_image(const ValueInfo& value) {
  const std::vector<Size>& shape = value.shape;
  if (shape.empty() || shape[0] != Size{0, 1}) return false;
  return std::all_of(shape.begin() + 1, shape.end(), [](const Size& size) { return size.per_item == 0; });
}

}  // namespace

std::size_t nodes_apart(const Program& program, Index batch, int threads) {
  const auto value = [&](Index v) -> const ValueInfo& { return program.values()[static_cast<std::size_t>(v)]; };
  if (threads > 1 && (batch < threads || (batch % threads != 0 && batch < Index{3} * threads))) return 0;
  if (batch == 1) return 0;
  for (const Index input : program.inputs())
    if (!by_image(value(input))) return 0;
  std::size_t apart = 0;
  bool with_product = false;
  for (const NodeInfo& node : program.nodes()) {
    bool fits = by_image(value(node.output));
    for (const Index input : node.inputs) fits &= by_image(value(input)) || value(input).constant != -1;
    const bool product = node.weight != -1;
    if (!fits || (product && columns_of_item(program, node) < Tuning::session.least_columns_apart)) break;
    ++apart;
    with_product |= product;
  }
  return with_product ? apart : 0;
}

}  // namespace sparse_engine
