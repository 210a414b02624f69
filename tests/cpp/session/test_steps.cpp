#include "session/steps.hpp"

#include "base/registry.hpp"
#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Steps, SayHowANodeRuns) {
  sparse_engine::Weights weights(std::make_shared<Program>(residual_network()));
  const auto& nodes = weights.program().nodes();
  const auto planned = [&](std::size_t n, Index batch) {
    return plan_node(kernels(), weights, nodes[n], find_views(weights.program(), batch, 0), batch, 2);
  };
  EXPECT_EQ(planned(0, 1).kernel, "planes, csr");
  EXPECT_EQ(planned(2, 1).kernel, "rows");
  EXPECT_EQ(planned(3, 1).kernel, "gemv, bitmask");
  EXPECT_EQ(planned(3, 20).kernel, "panels, csr");
  EXPECT_EQ(planned(1, 4).multiply_adds, 4 * planned(1, 1).multiply_adds);
  EXPECT_EQ(planned(3, 1).plans[0]->threads(), 1) << "too little to wake another thread for";
}

TEST(Steps, OfAVolumeAreThoseOfItsSlices) {
  ProgramParts p;
  const reference::Weights w = integer_weights(6, 54, 0.4, 58);
  p.values = {{"x", {kBatch, {2}, {3}, {4}, {5}}}, {"y", {kBatch, {6}, {3}, {4}, {5}}}};
  p.weights = {compress(w.values.data(), 6, 54)};
  p.nodes = {{.operation = Operation::conv3d,
              .name = "c",
              .inputs = {0},
              .output = 1,
              .weight = 0,
              .numbers = {3, 1, 1, 1, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1}}};
  p.inputs = {0};
  p.outputs = {1};
  sparse_engine::Weights weights(std::make_shared<Program>(std::move(p)));
  const auto& node = weights.program().nodes()[0];
  const PlannedNode planned = plan_node(kernels(), weights, node, find_views(weights.program(), 2, 0), 2, 1);
  EXPECT_EQ(planned.kernel, "planes, csr");
  EXPECT_EQ(planned.multiply_adds, static_cast<Index>(weights.program().weights()[0].values.size()) * 2 * 3 * 4 * 5);
  EXPECT_EQ(columns_of_item(weights.program(), node), 3 * 4 * 5);
}

TEST(Steps, MoveElementsByCopies) {
  sparse_engine::Weights weights(std::make_shared<Program>(moving_network()));
  std::vector<std::string> found;
  for (const NodeInfo& node : weights.program().nodes())
    found.push_back(plan_node(kernels(), weights, node, find_views(weights.program(), 2, 0), 2, 1).kernel);
  EXPECT_EQ(found, (std::vector<std::string>{"", "copy", "pad", "", "copy", "", "pool", "elementwise"}));
}

TEST(Steps, CountWhatProductsOfComputedValuesMultiply) {
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

TEST(Steps, RefuseABeginningThatIsLongerThanTheWhole) {
  ProgramParts p;
  p.values = {{"x", {kBatch, {2}}}, {"whole", {{4}, {2}}, 0}, {"first", {kBatch, {2}}}, {"y", {kBatch, {2}}}};
  p.constants = {integers(8, 57)};
  p.nodes = {{.operation = Operation::prefix, .name = "positions", .inputs = {1}, .output = 2, .numbers = {}},
             {.operation = Operation::add, .name = "sum", .inputs = {0, 2}, .output = 3, .numbers = {}}};
  p.inputs = {0};
  p.outputs = {3};
  sparse_engine::Weights weights(std::make_shared<Program>(std::move(p)));
  const auto planned = [&](Index length) {
    return plan_node(kernels(), weights, weights.program().nodes()[0], find_views(weights.program(), length, 0), length, 1);
  };
  EXPECT_TRUE(planned(4).plans.empty()) << "it is read where it lies";
  EXPECT_REFUSED(planned(5), "holds 4 positions of positions");
}

TEST(Steps, CountColumnsOfOneItem) {
  const Program program(residual_network());
  EXPECT_EQ(columns_of_item(program, program.nodes()[0]), 64);
  EXPECT_EQ(columns_of_item(program, program.nodes()[3]), 1);
}

}  // namespace
}  // namespace sparse_engine
