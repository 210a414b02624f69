#include "session/steps/computed.hpp"

#include "base/registry.hpp"
#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(ComputedSteps, CountWhatProductsOfComputedValuesMultiply) {
  ProgramParts p;
  p.values = {{"q", {kBatch, {2}, {5}, {8}}},
              {"k", {kBatch, {2}, {7}, {8}}},
              {"v", {kBatch, {2}, {7}, {4}}},
              {"y", {kBatch, {2}, {5}, {4}}},
              {"s", {kBatch, {2}, {5}, {7}}}};
  p.nodes = {{.operation = Operation::attention, .name = "a", .inputs = {0, 1, 2}, .output = 3, .numbers = {1, 1, 1, 1, 0}},
             {.operation = Operation::matmul, .name = "m", .inputs = {0, 1}, .output = 4, .numbers = {1}}};
  p.inputs = {0, 1, 2};
  p.outputs = {3, 4};
  sparse_engine::Weights weights(std::make_shared<Program>(std::move(p)));
  const auto planned = [&](std::size_t n) {
    return plan_node(kernels(), weights, weights.program().nodes()[n], find_views(weights.program(), 3, 0), 3, 2);
  };
  EXPECT_EQ(planned(0).kernel, "attention");
  EXPECT_EQ(planned(0).multiply_adds, 3 * 2 * 5 * 7 * (8 + 4));
  EXPECT_EQ(planned(1).kernel, "matmul");
  EXPECT_EQ(planned(1).multiply_adds, 3 * 2 * 5 * 7 * 8);
}

TEST(ComputedSteps, GoOverRowsOfTheLastAxes) {
  ProgramParts p;
  p.values = {{"x", {kBatch, {4}, {6}}}, {"epsilon", {}, 0}, {"s", {kBatch, {4}, {6}}}, {"n", {kBatch, {4}, {6}}},
              {"r", {kBatch, {4}, {6}}}, {"m", {kBatch}},    {"t", {kBatch, {4}}}};
  p.constants = {{1e-5f}};
  p.nodes = {{.operation = Operation::softmax, .name = "s", .inputs = {0}, .output = 2, .numbers = {}},
             {.operation = Operation::layer_norm, .name = "n", .inputs = {0, 1}, .output = 3, .numbers = {2}},
             {.operation = Operation::rms_norm, .name = "r", .inputs = {0, 1}, .output = 4, .numbers = {1}},
             {.operation = Operation::mean, .name = "m", .inputs = {0}, .output = 5, .numbers = {2, 0}},
             {.operation = Operation::sum, .name = "t", .inputs = {0}, .output = 6, .numbers = {1, 0}}};
  p.inputs = {0};
  p.outputs = {2, 3, 4, 5, 6};
  sparse_engine::Weights weights(std::make_shared<Program>(std::move(p)));
  const std::vector<View> views = find_views(weights.program(), 3, 0);
  for (const NodeInfo& node : weights.program().nodes()) {
    const PlannedNode planned = plan_node(kernels(), weights, node, views, 3, 2);
    EXPECT_EQ(planned.kernel, "rows") << node.name;
    EXPECT_EQ(planned.multiply_adds, 0) << node.name;
  }
}

}  // namespace
}  // namespace sparse_engine
