#include "session/steps/moves.hpp"

#include "base/registry.hpp"
#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(MoveSteps, AreCopies) {
  sparse_engine::Weights weights(std::make_shared<Program>(moving_network()));
  std::vector<std::string> found;
  for (const NodeInfo& node : weights.program().nodes())
    found.push_back(plan_node(kernels(), weights, node, find_views(weights.program(), 2, 0), 2, 1).kernel);
  EXPECT_EQ(found, (std::vector<std::string>{"", "copy", "pad", "", "copy", "", "pool", "elementwise"}));
}

TEST(MoveSteps, RefuseABeginningThatIsLongerThanTheWhole) {
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

TEST(MoveSteps, OfAConcatCopyWhatDoesNotLieInItsPlace) {
  ProgramParts p;
  p.values = {{"x", {kBatch, {2}, {3}}}, {"a", {kBatch, {2}, {3}}}, {"y", {kBatch, {4}, {3}}}};
  p.nodes = {{.operation = Operation::activation,
              .name = "a",
              .inputs = {0},
              .output = 1,
              .activation = Activation::relu,
              .numbers = {}},
             {.operation = Operation::concat, .name = "y", .inputs = {0, 1}, .output = 2, .numbers = {1}}};
  p.inputs = {0};
  p.outputs = {2};
  sparse_engine::Weights weights(std::make_shared<Program>(std::move(p)));
  const std::vector<View> views = find_views(weights.program(), 1, 0);
  const PlannedNode planned =
      planned_concat({kernels(), weights, weights.program(), weights.program().nodes()[1], views, 1, 1});
  ASSERT_EQ(planned.plans.size(), 2u);
  ASSERT_TRUE(planned.plans[0]) << "an input lies where the caller has it";
  EXPECT_EQ(planned.plans[0]->strategy(), Strategy::copy);
  EXPECT_FALSE(planned.plans[1]) << "what is made for the result alone is made there";
}

}  // namespace
}  // namespace sparse_engine
