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
  EXPECT_EQ(made(Operation::concat, {0}, {x, x}), (Shape{{0, 2}, {8}, {10}, {12}}));
  EXPECT_REFUSED(made(Operation::concat, {4}, {x, x}), "along axis 4");
  EXPECT_REFUSED(made(Operation::concat, {1}, {x, {kBatch, {8}, {10}, {11}}}), "differ in axis 3");
  EXPECT_REFUSED(made(Operation::concat, {1}, {}), "joins nothing");
  EXPECT_REFUSED(made(Operation::add, {}, {x, {{8}, {1}, {12}}}), "broadcast");
}

TEST(Shapes, OfResizedPlanesAreAsManyAsTheirPlaces) {
  const Shape x = {kBatch, {8}, {10}, {12}};
  const auto made = [&](const std::vector<Shape>& inputs) {
    return result_shape({.operation = Operation::resize, .name = "n", .inputs = {}, .numbers = {}}, inputs, nullptr, {});
  };
  EXPECT_EQ(made({x, {{2}, {25}}, {{2}, {6}}}), (Shape{kBatch, {8}, {25}, {6}}));
  EXPECT_EQ(made({{kBatch, {8}, {12}}, {{2}, {1}}, {{2}, {6}}}), (Shape{kBatch, {8}, {6}}));
  EXPECT_REFUSED(made({{kBatch, {8}, {12}}, {{2}, {3}}, {{2}, {6}}}), "makes height 3");
  EXPECT_REFUSED(made({x, {{2}, {25}}}), "needs 3");
  EXPECT_REFUSED(made({{kBatch, {8}}, {{2}, {25}}, {{2}, {6}}}), "needs 4, or 3");
  EXPECT_REFUSED(made({x, {{25}}, {{2}, {6}}}), "places of rows that are not (2, size)");
  EXPECT_REFUSED(made({x, {{2}, {25}}, {{3}, {6}}}), "places of columns that are not (2, size)");
  EXPECT_REFUSED(made({x, {{2}, kBatch}, {{2}, {6}}}), "depends on the batch");
  EXPECT_REFUSED(made({x, {{2}, {0}}, {{2}, {6}}}), "at least 1");
  EXPECT_REFUSED(made({{kBatch, {8}, {0}, {12}}, {{2}, {5}}, {{2}, {6}}}), "at least 1");
}

TEST(Shapes, OfProductsOfComputedValuesFollowFromBothFactors) {
  const auto made = [&](Operation operation, std::vector<Index> numbers, const std::vector<Shape>& inputs) {
    return result_shape({.operation = operation, .name = "n", .inputs = {}, .numbers = std::move(numbers)}, inputs, nullptr,
                        {});
  };
  const Shape x = {kBatch, {4}, {6}};
  EXPECT_EQ(made(Operation::matmul, {0}, {x, {kBatch, {6}, {5}}}), (Shape{kBatch, {4}, {5}}));
  EXPECT_EQ(made(Operation::matmul, {1}, {x, {kBatch, {5}, {6}}}), (Shape{kBatch, {4}, {5}}));
  EXPECT_REFUSED(made(Operation::matmul, {0}, {x, {kBatch, {5}, {6}}}), "sums over 6 columns and 5 rows");
  EXPECT_REFUSED(made(Operation::matmul, {0}, {x, {{3}, {6}, {5}}}), "differ in axis 0");
  EXPECT_REFUSED(made(Operation::matmul, {0}, {x, {{6}, {5}}}), "need as many");
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
  EXPECT_EQ(made(Operation::gather, {}, {{kBatch, {7}}, {{9}, {2}, {3}}}), (Shape{kBatch, {7}, {2}, {3}}));
  EXPECT_REFUSED(made(Operation::gather, {}, {x, {}}), "without axes");
  EXPECT_EQ(made(Operation::gather, {}, {{{7}}, {{9}, kBatch}}), (Shape{{7}, kBatch}));
  EXPECT_REFUSED(made(Operation::gather, {}, {x, x}), "depends on the batch");
  EXPECT_REFUSED(made(Operation::gather, {}, {x, {{2}, {2}, {2}, {2}, {2}, {2}, {2}}}), "at most 8");
}

TEST(Shapes, OfAttentionFollowFromQueriesAndValues) {
  const auto made = [&](std::vector<Index> numbers, const std::vector<Shape>& inputs) {
    return result_shape({.operation = Operation::attention, .name = "n", .inputs = {}, .numbers = std::move(numbers)}, inputs,
                        nullptr, {});
  };
  const Shape q = {kBatch, {4}, {7}, {8}}, k = {kBatch, {9}, {2}, {8}}, v = {kBatch, {2}, {9}, {5}};
  EXPECT_EQ(made({1, 2, 1, 1, 0}, {q, k, v}), (Shape{kBatch, {4}, {7}, {5}}));
  EXPECT_EQ(made({1, 2, 1, 2, 0}, {q, k, v, {{1}, {1}, {7}, {9}}}), (Shape{kBatch, {7}, {4}, {5}}));
  EXPECT_REFUSED(made({1, 2, 1, 1, 0}, {q, k}), "needs 3 or 4");
  EXPECT_REFUSED(made({1, 3, 1, 1, 0}, {q, k, v}), "along axis 3");
  EXPECT_REFUSED(made({1, 2, 1, 1, 0}, {q, k, {kBatch, {2}, {5}}}), "of 3 axes");
  EXPECT_REFUSED(made({1, 1, 1, 1, 0}, {q, k, v}), "do not fit together");
  EXPECT_REFUSED(made({1, 2, 1, 1, 0}, {{kBatch, {3}, {7}, {8}}, k, v}), "must divide");
  EXPECT_REFUSED(made({1, 2, 1, 1, 0}, {q, k, v, {{1}, {1}, {6}, {9}}}), "along axis 2");
}

TEST(Shapes, OfOneAxisAreThoseOfHeightOne) {
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

TEST(Shapes, OfVolumesHaveADepthOfTheirOwn) {
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

TEST(Shapes, OfWhatMovesElementsFollowFromItsNumbers) {
  const Shape x = {kBatch, {8}, {10}, {1}};
  const auto made = [&](Operation operation, std::vector<Index> numbers, const std::vector<Shape>& inputs,
                        const Shape& to = {}) {
    return result_shape({.operation = operation, .name = "n", .inputs = {}, .numbers = std::move(numbers)}, inputs, nullptr,
                        to);
  };
  EXPECT_EQ(made(Operation::permute, {2, 0, 3, 1}, {x}), (Shape{{10}, kBatch, {1}, {8}}));
  EXPECT_REFUSED(made(Operation::permute, {0, 1, 2, 2}, {x}), "names axis 2 of 4");
  EXPECT_REFUSED(made(Operation::permute, {0, 1, 2, 4}, {x}), "names axis 4 of 4");
  EXPECT_REFUSED(made(Operation::permute, {0, 1, 2, -1}, {x}), "names axis -1 of 4");
  EXPECT_EQ(made(Operation::slice, {0, -1, 1, 2, 7, 2, 10, 10, 1, 0, 1, 3}, {x}), (Shape{kBatch, {3}, {0}, {1}}));
  EXPECT_EQ(made(Operation::slice, {0, 1, 1, 0, 8, 1, 0, 10, 1, 0, 1, 1}, {x}), (Shape{{1}, {8}, {10}, {1}}));
  EXPECT_REFUSED(made(Operation::slice, {0, 2, 1, 0, 8, 1, 0, 10, 1, 0, 1, 1}, {x}), "axis 0, which depends on the batch");
  EXPECT_REFUSED(made(Operation::slice, {1, 0, 1, 0, 8, 1, 0, 10, 1, 0, 1, 1}, {x}), "axis 0, which depends on the batch");
  EXPECT_REFUSED(made(Operation::slice, {0, 1, -1, 0, 8, 1, 0, 10, 1, 0, 1, 1}, {x}), "axis 0, which depends on the batch");
  EXPECT_EQ(made(Operation::prefix, {}, {{{9}, {2}}}, {kBatch, {2}}), (Shape{kBatch, {2}}));
  EXPECT_REFUSED(made(Operation::prefix, {}, {{{9}, {2}}}, {kBatch}), "makes 1 axes of 2");
  EXPECT_REFUSED(made(Operation::prefix, {}, {{kBatch, {2}}}, {kBatch, {2}}), "depends on the batch");
  EXPECT_REFUSED(made(Operation::slice, {0, -1, 1, 0, 9, 1, 0, 10, 1, 0, 1, 1}, {x}), "takes [0, 9)");
  EXPECT_REFUSED(made(Operation::slice, {0, -1, 1, 3, 2, 1, 0, 10, 1, 0, 1, 1}, {x}), "takes [3, 2)");
  EXPECT_REFUSED(made(Operation::slice, {0, -1, 1, -1, 2, 1, 0, 10, 1, 0, 1, 1}, {x}), "takes [-1, 2)");
  EXPECT_REFUSED(made(Operation::slice, {0, -1, 1, 0, 8, 0, 0, 10, 1, 0, 1, 1}, {x}), "in steps of 0");
  EXPECT_EQ(made(Operation::slice, {0, -1, 1, 7, -1, -1, 8, 1, -3, 0, 0, -1}, {x}), (Shape{kBatch, {8}, {3}, {0}}));
  EXPECT_REFUSED(made(Operation::slice, {0, -1, 1, 8, -1, -1, 0, 10, 1, 0, 1, 1}, {x}), "takes [8, -1) in steps of -1");
  EXPECT_REFUSED(made(Operation::slice, {0, -1, 1, 7, -2, -1, 0, 10, 1, 0, 1, 1}, {x}), "takes [7, -2)");
  EXPECT_REFUSED(made(Operation::slice, {0, -1, 1, 2, 3, -1, 0, 10, 1, 0, 1, 1}, {x}), "takes [2, 3)");
  EXPECT_EQ(made(Operation::pad, {0, 0, 3, 4, 0, 1, 0, 0}, {x, {}}), (Shape{kBatch, {15}, {11}, {1}}));
  EXPECT_REFUSED(made(Operation::pad, {0, 0, -1, 4, 0, 1, 0, 0}, {x, {}}), "adds -1 to axis 1");
  EXPECT_REFUSED(made(Operation::pad, {0, 0, 1, 4, 0, 1, 0, 0}, {x, {{1}}}), "must be a number");
  EXPECT_REFUSED(made(Operation::pad, {0, 0, 1, 4, 0, 1, 0, 0}, {x}), "needs 2");
  const Shape larger = {{5}, kBatch, {8}, {10}, {7}};
  EXPECT_EQ(made(Operation::expand, {}, {x}, larger), larger);
  EXPECT_REFUSED(made(Operation::expand, {}, {x}, {kBatch, {9}, {10}, {1}}), "changes axis 1");
  EXPECT_REFUSED(made(Operation::expand, {}, {x}, {{8}, {10}, {1}}), "makes 3 axes of 4");
  EXPECT_EQ(made(Operation::sum, {2, 0}, {x}), (Shape{kBatch, {8}}));
  EXPECT_EQ(made(Operation::adaptive_average_pool, {3, 4}, {x}), (Shape{kBatch, {8}, {3}, {4}}));
  EXPECT_REFUSED(made(Operation::adaptive_average_pool, {0, 4}, {x}), "makes 0");
  EXPECT_REFUSED(made(Operation::adaptive_average_pool, {1, 1}, {{kBatch, {8}, {0}, {1}}}), "of 0");
  EXPECT_REFUSED(made(Operation::max_pool, {1, 1, 1, 1, 0, 0, 0, 0}, {{kBatch, {8}}}), "needs 4, or 3");
}

TEST(Shapes, OfRecurrencesFollowFromTheWeight) {
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

TEST(Shapes, OfCachesAndPositions) {
  const auto made = [&](Operation operation, std::vector<Index> numbers, const std::vector<Shape>& inputs) {
    return result_shape({.operation = operation, .name = "n", .inputs = {}, .numbers = std::move(numbers)}, inputs, nullptr,
                        {});
  };
  const Shape cache = {{2}, {3}, {9}, {8}}, rows = {{2}, {3}, kBatch, {8}}, numbers = {{1}, kBatch};
  EXPECT_EQ(made(Operation::write_rows, {}, {cache, rows, numbers}), cache);
  EXPECT_EQ(made(Operation::write_rows, {}, {cache, rows, {{2}, kBatch}}), cache);
  EXPECT_REFUSED(made(Operation::write_rows, {}, {cache, rows}), "needs 3");
  EXPECT_REFUSED(made(Operation::write_rows, {}, {cache, rows, {kBatch}}), "needs 4, 4 and 2");
  EXPECT_REFUSED(made(Operation::write_rows, {}, {cache, {{2}, {4}, kBatch, {8}}, numbers}), "do not fit");
  EXPECT_REFUSED(made(Operation::write_rows, {}, {{{2}, {3}, kBatch, {8}}, rows, numbers}), "depends on the batch");
  EXPECT_REFUSED(made(Operation::write_rows, {}, {cache, rows, {{3}, kBatch}}), "another shape");
  const Shape q = {{2}, {6}, kBatch, {8}};
  EXPECT_EQ(made(Operation::attention, {1, 1, 1, 1, 2}, {q, cache, cache, numbers}), q);
  EXPECT_REFUSED(made(Operation::attention, {1, 1, 1, 1, 2}, {q, cache, cache}), "no positions");
  EXPECT_REFUSED(made(Operation::attention, {1, 1, 1, 1, 2}, {q, cache, cache, q}), "2 of positions");
  EXPECT_REFUSED(made(Operation::attention, {1, 1, 1, 1, 2}, {q, cache, cache, {{1}, {5}}}), "another shape");
  EXPECT_REFUSED(made(Operation::attention, {1, 1, 1, 1, 3}, {q, cache, cache}), "0, 1 or 2");
}

}  // namespace
}  // namespace sparse_engine
