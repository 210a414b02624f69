#include "program/shapes.hpp"

#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

using Shape = std::vector<Size>;

TEST(Shapes, FollowFromOperations) {
  const Shape x = {kBatch, {8}, {10}, {12}};
  const auto made = [&](Operation operation, std::vector<Index> numbers, const std::vector<Shape>& inputs) {
    return result_shape({.operation = operation, .name = "n", .inputs = {}, .numbers = std::move(numbers)}, inputs, nullptr,
                        {});
  };
  EXPECT_EQ(made(Operation::max_pool, {3, 3, 2, 2, 1, 1, 1, 1}, {x}), (Shape{kBatch, {8}, {5}, {6}}));
  EXPECT_EQ(made(Operation::mean, {2, 0}, {x}), (Shape{kBatch, {8}}));
  EXPECT_EQ(made(Operation::mean, {1, 1}, {x}), (Shape{kBatch, {8}, {10}, {1}}));
  EXPECT_EQ(made(Operation::concat, {1}, {x, x, x}), (Shape{kBatch, {24}, {10}, {12}}));
  EXPECT_EQ(made(Operation::add, {}, {x, {{8}, {1}, {1}}}), x);
  EXPECT_REFUSED(made(Operation::concat, {0}, {x, x}), "along axis 0");
  EXPECT_REFUSED(made(Operation::concat, {1}, {x, {kBatch, {8}, {10}, {11}}}), "differ in axis 3");
  EXPECT_REFUSED(made(Operation::concat, {1}, {}), "joins nothing");
  EXPECT_REFUSED(made(Operation::add, {}, {x, {{8}, {1}, {12}}}), "broadcast");
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
