// Shapes of what only moves elements, one function for each operation; each throws std::invalid_argument where the node cannot
// have these inputs. `declared`: what the program says the result is.
#pragma once

#include <vector>

#include "sparse_engine/program.hpp"

namespace sparse_engine {

std::vector<Size> concat_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs);
std::vector<Size> reshape_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& declared);
std::vector<Size> expand_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& declared);
// A session checks that there is as much when it knows the batch.
std::vector<Size> prefix_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& declared);
std::vector<Size> permute_result(const NodeInfo& node, const std::vector<Size>& x);
std::vector<Size> slice_result(const NodeInfo& node, const std::vector<Size>& x);
std::vector<Size> pad_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& number);
std::vector<Size> gather_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& table);
std::vector<Size> write_rows_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs);

}  // namespace sparse_engine
