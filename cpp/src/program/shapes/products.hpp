// Shapes of products with the weights of a program, one function for each operation; each throws std::invalid_argument where
// the node cannot have these inputs or this weight.
#pragma once

#include <vector>

#include "sparse_engine/program.hpp"

namespace sparse_engine {

std::vector<Size> linear_result(const NodeInfo& node, const std::vector<Size>& x, const WeightInfo& w);
std::vector<Size> conv_result(const NodeInfo& node, const std::vector<Size>& x, const WeightInfo& w);
std::vector<Size> conv3d_result(const NodeInfo& node, const std::vector<Size>& x, const WeightInfo& w);
std::vector<Size> recurrent_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs, const WeightInfo& w);

}  // namespace sparse_engine
