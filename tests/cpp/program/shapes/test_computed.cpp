#include "program/shapes/computed.hpp"

#include "program/shapes.hpp"
#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

using Shape = std::vector<Size>;

Shape made(Operation operation, std::vector<Index> numbers, const std::vector<Shape>& inputs) {
  return result_shape({.operation = operation, .name = "n", .inputs = {}, .numbers = std::move(numbers)}, inputs, nullptr, {});
}

TEST(ComputedShapes, OfPoolsMeansAndSumsFollowFromTheirNumbers) {
  const Shape x = {kBatch, {8}, {10}, {12}}, last = {kBatch, {8}, {10}, {1}};
  EXPECT_EQ(made(Operation::max_pool, {3, 3, 2, 2, 1, 1, 1, 1}, {x}), (Shape{kBatch, {8}, {5}, {6}}));
  EXPECT_EQ(made(Operation::mean, {2, 0}, {x}), (Shape{kBatch, {8}}));
  EXPECT_EQ(made(Operation::mean, {1, 1}, {x}), (Shape{kBatch, {8}, {10}, {1}}));
  EXPECT_EQ(made(Operation::sum, {2, 0}, {last}), (Shape{kBatch, {8}}));
  EXPECT_EQ(made(Operation::adaptive_average_pool, {3, 4}, {last}), (Shape{kBatch, {8}, {3}, {4}}));
  EXPECT_REFUSED(made(Operation::adaptive_average_pool, {0, 4}, {last}), "makes 0");
  EXPECT_REFUSED(made(Operation::adaptive_average_pool, {1, 1}, {{kBatch, {8}, {0}, {1}}}), "of 0");
  EXPECT_REFUSED(made(Operation::max_pool, {1, 1, 1, 1, 0, 0, 0, 0}, {{kBatch, {8}}}), "needs 4, or 3");
}

TEST(ComputedShapes, OfTwoOperandsAreThoseOfTheFirst) {
  const Shape x = {kBatch, {8}, {10}, {12}};
  EXPECT_EQ(made(Operation::add, {}, {x, {{8}, {1}, {1}}}), x);
  EXPECT_REFUSED(made(Operation::add, {}, {x, {{8}, {1}, {12}}}), "broadcast");
}

TEST(ComputedShapes, OfResizedPlanesAreAsManyAsTheirPlaces) {
  const Shape x = {kBatch, {8}, {10}, {12}};
  EXPECT_EQ(made(Operation::resize, {}, {x, {{2}, {25}}, {{2}, {6}}}), (Shape{kBatch, {8}, {25}, {6}}));
  EXPECT_EQ(made(Operation::resize, {}, {{kBatch, {8}, {12}}, {{2}, {1}}, {{2}, {6}}}), (Shape{kBatch, {8}, {6}}));
  EXPECT_REFUSED(made(Operation::resize, {}, {{kBatch, {8}, {12}}, {{2}, {3}}, {{2}, {6}}}), "makes height 3");
  EXPECT_REFUSED(made(Operation::resize, {}, {x, {{2}, {25}}}), "needs 3");
  EXPECT_REFUSED(made(Operation::resize, {}, {{kBatch, {8}}, {{2}, {25}}, {{2}, {6}}}), "needs 4, or 3");
  EXPECT_REFUSED(made(Operation::resize, {}, {x, {{25}}, {{2}, {6}}}), "places of rows that are not (2, size)");
  EXPECT_REFUSED(made(Operation::resize, {}, {x, {{2}, {25}}, {{3}, {6}}}), "places of columns that are not (2, size)");
  EXPECT_REFUSED(made(Operation::resize, {}, {x, {{2}, kBatch}, {{2}, {6}}}), "depends on the batch");
  EXPECT_REFUSED(made(Operation::resize, {}, {x, {{2}, {0}}, {{2}, {6}}}), "at least 1");
  EXPECT_REFUSED(made(Operation::resize, {}, {{kBatch, {8}, {0}, {12}}, {{2}, {5}}, {{2}, {6}}}), "at least 1");
}

TEST(ComputedShapes, OfProductsOfComputedValuesFollowFromBothFactors) {
  const Shape x = {kBatch, {4}, {6}};
  EXPECT_EQ(made(Operation::matmul, {0}, {x, {kBatch, {6}, {5}}}), (Shape{kBatch, {4}, {5}}));
  EXPECT_EQ(made(Operation::matmul, {1}, {x, {kBatch, {5}, {6}}}), (Shape{kBatch, {4}, {5}}));
  EXPECT_REFUSED(made(Operation::matmul, {0}, {x, {kBatch, {5}, {6}}}), "sums over 6 columns and 5 rows");
  EXPECT_REFUSED(made(Operation::matmul, {0}, {x, {{3}, {6}, {5}}}), "differ in axis 0");
  EXPECT_REFUSED(made(Operation::matmul, {0}, {x, {{6}, {5}}}), "need as many");
}

TEST(ComputedShapes, OfNormsAreThoseOfTheirInput) {
  const Shape x = {kBatch, {4}, {6}};
  EXPECT_EQ(made(Operation::softmax, {}, {x}), x);
  EXPECT_EQ(made(Operation::softmax, {}, {{{3}, kBatch}}), (Shape{{3}, kBatch})) << "over tokens, where they are open";
  EXPECT_EQ(made(Operation::layer_norm, {1}, {x, {}, {{6}}, {{6}}}), x);
  EXPECT_EQ(made(Operation::layer_norm, {2}, {x, {}}), x);
  EXPECT_REFUSED(made(Operation::layer_norm, {1}, {x, {}, {{6}}}), "needs 2 or 4");
  EXPECT_REFUSED(made(Operation::layer_norm, {3}, {x, {}}), "over 3 axes of 3");
  EXPECT_REFUSED(made(Operation::layer_norm, {1}, {x, {{1}}}), "must be a number");
  EXPECT_REFUSED(made(Operation::layer_norm, {1}, {x, {}, {{6}}, {{5}}}), "bias of layer_norm");
  EXPECT_EQ(made(Operation::rms_norm, {1}, {x, {}, {{6}}}), x);
  EXPECT_EQ(made(Operation::rms_norm, {2}, {x, {}}), x);
  EXPECT_REFUSED(made(Operation::rms_norm, {1}, {x, {}, {{6}}, {{6}}}), "needs 2 or 3");
  EXPECT_REFUSED(made(Operation::rms_norm, {3}, {x, {}}), "rms_norm n goes over 3 axes of 3");
  EXPECT_REFUSED(made(Operation::rms_norm, {1}, {x, {}, {{5}}}), "weight of rms_norm");
}

TEST(ComputedShapes, OfAttentionFollowFromQueriesAndValues) {
  const Shape q = {kBatch, {4}, {7}, {8}}, k = {kBatch, {9}, {2}, {8}}, v = {kBatch, {2}, {9}, {5}};
  EXPECT_EQ(made(Operation::attention, {1, 2, 1, 1, 0}, {q, k, v}), (Shape{kBatch, {4}, {7}, {5}}));
  EXPECT_EQ(made(Operation::attention, {1, 2, 1, 2, 0}, {q, k, v, {{1}, {1}, {7}, {9}}}), (Shape{kBatch, {7}, {4}, {5}}));
  EXPECT_REFUSED(made(Operation::attention, {1, 2, 1, 1, 0}, {q, k}), "needs 3 or 4");
  EXPECT_REFUSED(made(Operation::attention, {1, 3, 1, 1, 0}, {q, k, v}), "along axis 3");
  EXPECT_REFUSED(made(Operation::attention, {1, 2, 1, 1, 0}, {q, k, {kBatch, {2}, {5}}}), "of 3 axes");
  EXPECT_REFUSED(made(Operation::attention, {1, 1, 1, 1, 0}, {q, k, v}), "do not fit together");
  EXPECT_REFUSED(made(Operation::attention, {1, 2, 1, 1, 0}, {{kBatch, {3}, {7}, {8}}, k, v}), "must divide");
  EXPECT_REFUSED(made(Operation::attention, {1, 2, 1, 1, 0}, {q, k, v, {{1}, {1}, {6}, {9}}}), "along axis 2");
}

TEST(ComputedShapes, OfAttentionByPositionAreThoseOfItsQueries) {
  const Shape cache = {{2}, {3}, {9}, {8}}, numbers = {{1}, kBatch}, q = {{2}, {6}, kBatch, {8}};
  EXPECT_EQ(made(Operation::attention, {1, 1, 1, 1, 2}, {q, cache, cache, numbers}), q);
  EXPECT_REFUSED(made(Operation::attention, {1, 1, 1, 1, 2}, {q, cache, cache}), "no positions");
  EXPECT_REFUSED(made(Operation::attention, {1, 1, 1, 1, 2}, {q, cache, cache, q}), "2 of positions");
  EXPECT_REFUSED(made(Operation::attention, {1, 1, 1, 1, 2}, {q, cache, cache, {{1}, {5}}}), "another shape");
  EXPECT_REFUSED(made(Operation::attention, {1, 1, 1, 1, 3}, {q, cache, cache}), "0, 1 or 2");
}

}  // namespace
}  // namespace sparse_engine
