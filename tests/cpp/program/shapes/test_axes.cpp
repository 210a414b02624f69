#include "program/shapes/axes.hpp"

#include "program/shapes.hpp"
#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

using Shape = std::vector<Size>;

TEST(Axes, OfOneDimensionAreThoseOfHeightOne) {
  const Shape x = {kBatch, {8}, {12}};
  const WeightInfo w{6, 24, {}, {}};
  const auto made = [&](Operation operation, std::vector<Index> numbers) {
    return result_shape({.operation = operation, .name = "n", .inputs = {}, .numbers = std::move(numbers)}, {x}, &w, {});
  };
  EXPECT_EQ(made(Operation::conv2d, {1, 3, 1, 2, 0, 1, 0, 1, 1, 1, 1}), (Shape{kBatch, {6}, {6}}));
  EXPECT_EQ(made(Operation::max_pool, {1, 3, 1, 2, 0, 1, 0, 1}), (Shape{kBatch, {8}, {6}}));
  EXPECT_EQ(made(Operation::adaptive_max_pool, {1, 5}), (Shape{kBatch, {8}, {5}}));
  EXPECT_REFUSED(made(Operation::adaptive_max_pool, {2, 5}), "makes height 2");
  EXPECT_REFUSED(made(Operation::conv2d, {1, 3, 1, 1, 1, 0, 1, 0, 1, 1, 1}), "makes height 3");
}

TEST(Axes, OfPlanesDoNotDependOnTheBatch) {
  const NodeInfo node{.operation = Operation::max_pool, .name = "n", .inputs = {}, .numbers = {}};
  const Plane plane = plane_of(node, {kBatch, {8}, {10}, {12}});
  EXPECT_EQ(plane.height, 10);
  EXPECT_EQ(plane.width, 12);
  EXPECT_EQ(plane_of(node, {kBatch, {8}, {12}}).height, 1);
  EXPECT_REFUSED(plane_of(node, {kBatch, {8}, kBatch, {12}}), "height of what max_pool n reads depends on the batch");
  EXPECT_REFUSED(plane_of(node, {kBatch, {8}, {10}, {12}, {14}}), "a value of 5 axes; it needs 4, or 3");
  EXPECT_EQ(with_plane(node, {kBatch, {8}, {10}, {12}}, 3, {5, 6}), (Shape{kBatch, {3}, {5}, {6}}));
  EXPECT_REFUSED(with_plane(node, {kBatch, {8}, {12}}, 3, {5, 6}), "makes height 5");
}

}  // namespace
}  // namespace sparse_engine
