#include "session/apart.hpp"

#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Apart, AreTheNodesUpToTheFirstProductOfFewColumns) {
  const Program program(residual_network());
  EXPECT_EQ(nodes_apart(program, 4, 2), 3u) << "the linear layer has one column for each image";
  EXPECT_EQ(nodes_apart(program, 4, 1), 3u);
}

TEST(Apart, AreNoneWhereSomeThreadHasNoImageOrTwiceAsMany) {
  const Program program(residual_network());
  EXPECT_EQ(nodes_apart(program, 1, 1), 0u);
  EXPECT_EQ(nodes_apart(program, 1, 2), 0u);
  EXPECT_EQ(nodes_apart(program, 3, 2), 0u);
  EXPECT_EQ(nodes_apart(program, 7, 2), 3u) << "four images to three";
}

TEST(Apart, AreNoneWithoutAProduct) { EXPECT_EQ(nodes_apart(Program(moving_network()), 4, 2), 0u); }

TEST(Apart, AreNoneWhereAnInputIsNotOneImageAfterAnother) {
  ProgramParts p = residual_network();
  p.values.push_back({"lengths", {{2}, kBatch}});
  p.inputs.push_back(5);
  EXPECT_EQ(nodes_apart(Program(std::move(p)), 4, 2), 0u);
}

}  // namespace
}  // namespace sparse_engine
