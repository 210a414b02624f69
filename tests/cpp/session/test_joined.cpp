#include "session/joined.hpp"

#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

constexpr Index kSum = 11;

// Whether the only node of a program does: `inputs` and the result by their shapes; constants follow the inputs.
bool takes(Operation operation, std::vector<std::vector<Size>> inputs, std::vector<std::vector<Size>> constants,
           std::vector<Size> result, std::vector<Index> numbers = {}) {
  ProgramParts p;
  NodeInfo node{.operation = operation, .name = "node", .inputs = {}, .numbers = std::move(numbers)};
  const auto add = [&](std::vector<Size> shape, Index constant) {
    node.inputs.push_back(static_cast<Index>(p.values.size()));
    p.values.push_back({"v" + std::to_string(p.values.size()), std::move(shape), constant});
  };
  for (auto& shape : inputs) {
    p.inputs.push_back(static_cast<Index>(p.values.size()));
    add(std::move(shape), -1);
  }
  for (auto& shape : constants) {
    Index floats = 1;
    for (const Size& size : shape) floats *= size.fixed;
    p.constants.emplace_back(floats, 1.0f);
    add(std::move(shape), static_cast<Index>(p.constants.size()) - 1);
  }
  node.output = static_cast<Index>(p.values.size());
  p.values.push_back({"y", std::move(result)});
  p.outputs = {node.output};
  p.nodes = {std::move(node)};
  const Program program(std::move(p));
  return takes_joined_rows(program, program.nodes()[0], find_views(program, kSum, 0), kSum);
}

TEST(Joined, RowsAreTakenByWhatTreatsEachForItself) {
  const std::vector<Size> tokens = {{1}, kBatch, {8}};
  EXPECT_TRUE(takes(Operation::activation, {tokens}, {}, tokens));
  EXPECT_TRUE(takes(Operation::add, {tokens, tokens}, {}, tokens));
  EXPECT_TRUE(takes(Operation::multiply, {tokens}, {{{8}}}, tokens));
  EXPECT_TRUE(takes(Operation::multiply, {tokens, {{1}, kBatch, {1}}}, {}, tokens));
  EXPECT_TRUE(takes(Operation::softmax, {tokens}, {}, tokens));
  EXPECT_TRUE(takes(Operation::layer_norm, {tokens}, {{}}, tokens, {1}));
  EXPECT_TRUE(takes(Operation::rms_norm, {tokens}, {{}}, tokens, {1}));
  EXPECT_TRUE(takes(Operation::mean, {tokens}, {}, {{1}, kBatch}, {1, 0}));
  EXPECT_TRUE(takes(Operation::gather, {{{1}, kBatch}}, {{{5}, {8}}}, tokens));
}

TEST(Joined, RowsAreNotTakenByWhatMixesThem) {
  const std::vector<Size> tokens = {{1}, kBatch, {8}}, scores = {{1}, {8}, kBatch};
  EXPECT_FALSE(takes(Operation::softmax, {scores}, {}, scores)) << "along the rows";
  EXPECT_FALSE(takes(Operation::sum, {tokens}, {}, {{1}}, {2, 0})) << "of all rows";
  EXPECT_FALSE(takes(Operation::permute, {tokens}, {}, scores, {0, 2, 1}));
  EXPECT_FALSE(takes(Operation::matmul, {tokens, tokens}, {}, {{1}, kBatch, kBatch}, {1}));
}

TEST(Joined, RowsAreOnlyWhatGrowsWithThemBehindAxesOfOne) {
  const std::vector<Size> two = {{2}, kBatch, {8}}, square = {{1}, kBatch, kBatch}, more = {{1}, {1, 1}, {8}};
  EXPECT_FALSE(takes(Operation::activation, {two}, {}, two)) << "rows of one call lie in two places";
  EXPECT_FALSE(takes(Operation::activation, {square}, {}, square)) << "grows with the square";
  EXPECT_FALSE(takes(Operation::activation, {more}, {}, more)) << "has a row that no token is";
  EXPECT_FALSE(takes(Operation::add, {{{1}, kBatch, {1}}, {{1}}}, {}, {{1}, kBatch, {1}})) << "one number for each call";
  EXPECT_FALSE(takes(Operation::gather, {{{1}, kBatch}, {{5}, {8}}}, {}, {{1}, kBatch, {8}})) << "a table for each call";
}

TEST(Joined, RowsOfAConstantAreNotThoseOfTheNextCall) {
  ProgramParts p;
  const std::vector<Size> tokens = {{1}, kBatch, {8}};
  p.values = {{"x", tokens}, {"positions", {{1}, {99}, {8}}, 0}, {"first", tokens}, {"y", tokens}};
  p.constants = {std::vector<float>(99 * 8)};
  p.nodes = {{.operation = Operation::prefix, .name = "first", .inputs = {1}, .output = 2, .numbers = {}},
             {.operation = Operation::add, .name = "add", .inputs = {0, 2}, .output = 3, .numbers = {}}};
  p.inputs = {0};
  p.outputs = {3};
  const Program program(std::move(p));
  EXPECT_FALSE(takes_joined_rows(program, program.nodes()[1], find_views(program, kSum, 0), kSum));
}

TEST(Joined, PartsOfRowsAreRows) {
  ProgramParts p;
  const std::vector<Size> part = {{1}, kBatch, {4}};
  p.values = {{"x", {{1}, kBatch, {8}}}, {"part", part}, {"y", {{1}, kBatch, {3}}}};
  p.weights = {compress(std::vector<float>(12, 1.0f).data(), 3, 4)};
  p.nodes = {
      {.operation = Operation::slice, .name = "part", .inputs = {0}, .output = 1, .numbers = {0, 1, 1, 0, -1, 1, 4, 8, 1}},
      {.operation = Operation::linear, .name = "linear", .inputs = {1}, .output = 2, .weight = 0, .numbers = {}}};
  p.inputs = {0};
  p.outputs = {2};
  const Program program(std::move(p));
  const std::vector<View> views = find_views(program, kSum, 0);
  ASSERT_EQ(views[1].root, 0) << "the part lies in x";
  EXPECT_TRUE(takes_joined_rows(program, program.nodes()[1], views, kSum));
}

TEST(Joined, ValuesThatLieElsewhereAloneAreFound) {
  const Program program(moving_network());
  const std::vector<View> views = find_views(program, kSum, 0);
  std::vector<View> others = find_views(program, 3, 0);
  EXPECT_TRUE(lie_alike(program, views, kSum, others, 3));
  others[1].root = 1 - others[1].root;
  EXPECT_FALSE(lie_alike(program, views, kSum, others, 3));
  others = find_views(program, 3, 0);
  others[1].offset += 1;
  EXPECT_FALSE(lie_alike(program, views, kSum, others, 3));
}

}  // namespace
}  // namespace sparse_engine
