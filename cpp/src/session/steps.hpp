// From a node of a program to the plan that computes it.
#pragma once

#include <memory>
#include <string>

#include "kernels/table.hpp"
#include "ops/plan.hpp"
#include "session/views.hpp"
#include "session/weights.hpp"

namespace sparse_engine {

struct PlannedNode {
  std::shared_ptr<const Matrix> weight = {}, expansion = {};  // kept as long as the plan
  WeightFormat format = WeightFormat::csr;                    // of the weight
  // One, or one for each input of a concat; null where nothing is left to do.
  std::vector<std::shared_ptr<const Plan>> plans = {};
  std::string kernel = {};
  Index multiply_adds = 0;
};

// The plan of a node at a batch size, whose operands lie as `views` says; `weights` are of the same program. What lies where it
// was has none. `expansion`: the node before it that is computed with it (expansions.hpp), or null.
PlannedNode plan_node(const Kernels& table, Weights& weights, const NodeInfo& node, const std::vector<View>& views, Index batch,
                      int threads, const NodeInfo* expansion = nullptr);

// Columns of the products of one item: below a panel's width, items are better computed together.
Index columns_of_item(const Program& program, const NodeInfo& node);

}  // namespace sparse_engine
