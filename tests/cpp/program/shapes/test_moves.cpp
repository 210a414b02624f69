#include "program/shapes/moves.hpp"

#include "program/shapes.hpp"
#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

using Shape = std::vector<Size>;

Shape made(Operation operation, std::vector<Index> numbers, const std::vector<Shape>& inputs, const Shape& to = {}) {
  return result_shape({.operation = operation, .name = "n", .inputs = {}, .numbers = std::move(numbers)}, inputs, nullptr, to);
}

TEST(MoveShapes, OfAConcatAddUpAlongItsAxis) {
  const Shape x = {kBatch, {8}, {10}, {12}};
  EXPECT_EQ(made(Operation::concat, {1}, {x, x, x}), (Shape{kBatch, {24}, {10}, {12}}));
  EXPECT_EQ(made(Operation::concat, {0}, {x, x}), (Shape{{0, 2}, {8}, {10}, {12}}));
  EXPECT_REFUSED(made(Operation::concat, {4}, {x, x}), "along axis 4");
  EXPECT_REFUSED(made(Operation::concat, {1}, {x, {kBatch, {8}, {10}, {11}}}), "differ in axis 3");
  EXPECT_REFUSED(made(Operation::concat, {1}, {}), "joins nothing");
}

TEST(MoveShapes, OfAReshapeHoldAsManyElementsAtEveryBatch) {
  EXPECT_EQ(made(Operation::reshape, {}, {{kBatch, {2}, {6}}}, {{0, 3}, {4}}), (Shape{{0, 3}, {4}}));
  EXPECT_REFUSED(made(Operation::reshape, {}, {{kBatch, {12}}}, {{12}}), "makes 12 elements of 24 at batch 2");
}

TEST(MoveShapes, OfWhatMovesElementsFollowFromItsNumbers) {
  const Shape x = {kBatch, {8}, {10}, {1}};
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
}

TEST(MoveShapes, OfRowsFollowFromTheirNumbers) {
  const Shape x = {kBatch, {4}, {6}};
  EXPECT_EQ(made(Operation::gather, {}, {{kBatch, {7}}, {{9}, {2}, {3}}}), (Shape{kBatch, {7}, {2}, {3}}));
  EXPECT_REFUSED(made(Operation::gather, {}, {x, {}}), "without axes");
  EXPECT_EQ(made(Operation::gather, {}, {{{7}}, {{9}, kBatch}}), (Shape{{7}, kBatch}));
  EXPECT_REFUSED(made(Operation::gather, {}, {x, x}), "depends on the batch");
  EXPECT_REFUSED(made(Operation::gather, {}, {x, {{2}, {2}, {2}, {2}, {2}, {2}, {2}}}), "at most 8");
  const Shape cache = {{2}, {3}, {9}, {8}}, rows = {{2}, {3}, kBatch, {8}}, numbers = {{1}, kBatch};
  EXPECT_EQ(made(Operation::write_rows, {}, {cache, rows, numbers}), cache);
  EXPECT_EQ(made(Operation::write_rows, {}, {cache, rows, {{2}, kBatch}}), cache);
  EXPECT_REFUSED(made(Operation::write_rows, {}, {cache, rows}), "needs 3");
  EXPECT_REFUSED(made(Operation::write_rows, {}, {cache, rows, {kBatch}}), "needs 4, 4 and 2");
  EXPECT_REFUSED(made(Operation::write_rows, {}, {cache, {{2}, {4}, kBatch, {8}}, numbers}), "do not fit");
  EXPECT_REFUSED(made(Operation::write_rows, {}, {{{2}, {3}, kBatch, {8}}, rows, numbers}), "depends on the batch");
  EXPECT_REFUSED(made(Operation::write_rows, {}, {cache, rows, {{3}, kBatch}}), "another shape");
}

}  // namespace
}  // namespace sparse_engine
