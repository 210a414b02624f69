// Shapes of what is computed of other values, without weights, one function for each operation; each throws
// std::invalid_argument where the node cannot have these inputs.
#pragma once

#include <vector>

#include "sparse_engine/program.hpp"

namespace sparse_engine {

std::vector<Size> pool_result(const NodeInfo& node, const std::vector<Size>& x);
std::vector<Size> adaptive_result(const NodeInfo& node, const std::vector<Size>& x);
std::vector<Size> resize_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs);
std::vector<Size> mean_result(const NodeInfo& node, const std::vector<Size>& x);  // or of a sum
std::vector<Size> binary_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& b);
std::vector<Size> softmax_result(const NodeInfo& node, const std::vector<Size>& x);
std::vector<Size> norm_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs);
std::vector<Size> matmul_result(const NodeInfo& node, const std::vector<Size>& x, const std::vector<Size>& b);
std::vector<Size> attention_result(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs);

}  // namespace sparse_engine
