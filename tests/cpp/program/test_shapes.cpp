#include "program/shapes.hpp"

#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

using Shape = std::vector<Size>;

TEST(Shapes, NeedAsManyInputsAsTheOperationHas) {
  const auto made = [](Operation operation, const std::vector<Shape>& inputs) {
    return result_shape({.operation = operation, .name = "n", .inputs = {}, .numbers = {}}, inputs, nullptr, {});
  };
  const Shape x = {kBatch, {8}};
  EXPECT_EQ(made(Operation::activation, {x}), x);
  EXPECT_REFUSED(made(Operation::activation, {x, x}), "activation n has 2 inputs; it needs 1");
  EXPECT_REFUSED(made(Operation::add, {x}), "add n has 1 inputs; it needs 2");
}

TEST(Shapes, ReadTheNumbersOfConvolutions) {
  NodeInfo node{.operation = Operation::conv3d, .name = "n", .inputs = {}, .numbers = {}};
  for (Index i = 0; i < 16; ++i) node.numbers.push_back(i);
  const Conv3dParams s = conv3d_params(node);
  EXPECT_EQ(s.kernel_d, 0);
  EXPECT_EQ(s.plane.kernel_h, 5) << "behind those of depth";
  EXPECT_EQ(s.plane.groups, 15);
  EXPECT_EQ(conv_params(node).groups, 10);
}

TEST(Shapes, KnowWhatIsARecurrence) {
  EXPECT_TRUE(is_recurrent(Operation::lstm) && is_recurrent(Operation::gru));
  EXPECT_FALSE(is_recurrent(Operation::linear) || is_recurrent(Operation::pad));
}

TEST(Shapes, KnowWhatSlides) {
  EXPECT_TRUE(is_convolution(Operation::conv2d) && is_convolution(Operation::conv3d));
  EXPECT_FALSE(is_convolution(Operation::linear) || is_convolution(Operation::max_pool));
}

TEST(Shapes, KnowWhatGoesElementByElement) {
  for (const Operation o : {Operation::add, Operation::divide, Operation::maximum, Operation::minimum, Operation::activation})
    EXPECT_TRUE(is_elementwise(o)) << name_of(o);
  for (const Operation o : {Operation::sum, Operation::concat, Operation::conv2d, Operation::pad})
    EXPECT_FALSE(is_elementwise(o)) << name_of(o);
}

TEST(Shapes, SayHowOneOperandLiesUnderTheOther) {
  const Shape x = {kBatch, {8}, {10}, {12}};
  const auto axes = [&](const Shape& b) {
    const auto found = broadcast_axes(x, b);
    return found ? std::pair<int, int>(found->outer, found->inner) : std::pair<int, int>(-1, -1);
  };
  EXPECT_EQ(axes(x), std::pair(0, 0));
  EXPECT_EQ(axes({{12}}), std::pair(3, 0));
  EXPECT_EQ(axes({kBatch, {8}, {1}, {1}}), std::pair(0, 2));
  EXPECT_EQ(axes({{8}, {1}, {1}}), std::pair(1, 2));
  EXPECT_EQ(axes({}), std::pair(4, 0));
  EXPECT_EQ(axes({kBatch, {1}, {10}, {12}}), std::pair(-1, -1));
  EXPECT_EQ(axes({{1}, {1}, {1}, {1}, {1}}), std::pair(-1, -1));
}

TEST(Shapes, CountElementsWithoutWrapping) {
  EXPECT_EQ(elements_at({kBatch, {3}, {1, 2}}, 4), 4 * 3 * 9);
  EXPECT_REFUSED(elements_at({{Index{1} << 40}, {Index{1} << 40}}, 1), "63 bits");
  EXPECT_REFUSED(elements_at({{-3, 1}}, 2), "must not be negative");
}

}  // namespace
}  // namespace sparse_engine
