#include "program/shapes/products.hpp"

#include "program/shapes.hpp"
#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

using Shape = std::vector<Size>;

TEST(ProductShapes, OfALinearLayerReplaceTheLastAxis) {
  const WeightInfo w{6, 24, {}, {}};
  const auto made = [&](const Shape& x) {
    return result_shape({.operation = Operation::linear, .name = "n", .inputs = {}, .numbers = {}}, {x}, &w, {});
  };
  EXPECT_EQ(made({kBatch, {5}, {24}}), (Shape{kBatch, {5}, {6}}));
  EXPECT_EQ(made({{24}}), (Shape{{6}}));
  EXPECT_REFUSED(made({}), "without axes");
  EXPECT_REFUSED(made({{24}, kBatch}), "depends on the batch");
  EXPECT_REFUSED(made({kBatch, {23}}), "reads 23 features; its weight has 24 columns");
}

TEST(ProductShapes, OfVolumesHaveADepthOfTheirOwn) {
  const WeightInfo w = compress(std::vector<float>(6 * 4 * 18, 1.0f).data(), 6, 4 * 18);
  const auto made = [&](const Shape& x, std::vector<Index> numbers) {
    return result_shape({.operation = Operation::conv3d, .name = "n", .inputs = {}, .numbers = std::move(numbers)}, {x}, &w,
                        {});
  };
  const Shape x = {kBatch, {8}, {5}, {6}, {7}};
  EXPECT_EQ(made(x, {2, 2, 0, 1, 1, 3, 3, 1, 2, 1, 1, 1, 1, 1, 1, 2}), (Shape{kBatch, {6}, {3}, {6}, {4}}));
  EXPECT_REFUSED(made(x, {2, 1, 0, 0, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1}),
                 "conv3d n has a weight of 72 columns; it needs 144");
  EXPECT_REFUSED(made(x, {2, 1, 0, 0, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 3}), "conv3d n has 3 groups");
  EXPECT_REFUSED(made(x, {7, 1, 0, 0, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1}), "kernel reaches over 7 cells in depth");
  EXPECT_REFUSED(made({kBatch, {8}, {5}, {6}}, {2, 1, 0, 0, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 2}), "4 axes; it needs 5");
  EXPECT_REFUSED(made({kBatch, {8}, kBatch, {6}, {7}}, {2, 1, 0, 0, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 2}),
                 "depends on the batch");
}

TEST(ProductShapes, OfRecurrencesFollowFromTheWeight) {
  const WeightInfo one{24, 6, {}, {}}, two{48, 6, {}, {}}, of_gru{36, 6, {}, {}};
  const auto made = [&](Operation operation, std::vector<Index> numbers, const std::vector<Shape>& inputs,
                        const WeightInfo& w) {
    return result_shape({.operation = operation, .name = "n", .inputs = {}, .numbers = std::move(numbers)}, inputs, &w, {});
  };
  const Shape x = {{5}, kBatch, {24}}, both = {kBatch, {5}, {48}};
  EXPECT_EQ(made(Operation::lstm, {1, 0}, {x}, one), (Shape{{5}, kBatch, {6}}));
  EXPECT_EQ(made(Operation::lstm, {0, 1}, {both, {{4}, kBatch, {6}}}, two), (Shape{kBatch, {6}, {12}}));
  EXPECT_EQ(made(Operation::gru, {1}, {{{5}, {2}, {36}}, {{2}, {2}, {6}}}, of_gru), (Shape{{5}, {2}, {12}}));
  EXPECT_EQ(made(Operation::gru, {1}, {{kBatch, {1}, {36}}}, of_gru), (Shape{kBatch, {1}, {12}})) << "a batch of steps";
  EXPECT_REFUSED(made(Operation::lstm, {2, 0}, {x}, one), "has the number 2");
  EXPECT_REFUSED(made(Operation::lstm, {1, -1}, {x}, one), "has the number -1");
  EXPECT_REFUSED(made(Operation::lstm, {1, 0}, {}, one), "has 0 inputs");
  EXPECT_REFUSED(made(Operation::lstm, {1, 0}, {x, x, x}, one), "has 3 inputs");
  EXPECT_REFUSED(made(Operation::lstm, {1, 0}, {both}, one), "reads 48 features");
  EXPECT_REFUSED(made(Operation::gru, {1}, {x}, one), "24 rows; 6 hidden units need 18");
  EXPECT_REFUSED(made(Operation::gru, {1}, {{kBatch, {24}}}, of_gru), "of 2 axes");
  EXPECT_REFUSED(made(Operation::gru, {1}, {{{5}, {2}, kBatch}}, of_gru), "depends on the batch");
  EXPECT_REFUSED(made(Operation::gru, {0}, {{kBatch, {0}, {36}}}, of_gru), "without steps");
  EXPECT_REFUSED(made(Operation::lstm, {1, 0}, {x, {{1}, kBatch, {6}}}, one), "state of another shape");
  EXPECT_REFUSED(made(Operation::gru, {1}, {{{5}, {2}, {36}}, {{2}, {3}, {6}}}, of_gru), "state of another shape");
  EXPECT_REFUSED(made(Operation::gru, {1}, {{{5}, {2}, {36}}}, {Index{1} << 62, Index{1} << 62, {}, {}}), "63 bits");
}

}  // namespace
}  // namespace sparse_engine
