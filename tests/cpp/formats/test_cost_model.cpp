// What products are expected to take: the figures of the formats, and where one becomes cheaper than another or than dense.
#include "sparse_engine/cost_model.hpp"

#include <gtest/gtest.h>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(CostModel, CountsBytesOfFewColumnsAndArithmeticOfMany) {
  for (const double density : {0.0, 0.02, 0.1, 0.5, 1.0}) {
    for (const Index columns : {1, 8}) {
      EXPECT_EQ(product_cost("csr", density, columns), 5.0 * density / 4);
      EXPECT_EQ(product_cost("bitmask", density, columns), (4.2 * density + 0.25) / 4);
      EXPECT_EQ(product_cost("bsr4x1", density, columns), 5.5 * density / 4);
      EXPECT_EQ(product_cost("nm2:4", density, columns), 4.3 * density / 4);
    }
    for (const Index columns : {9, 1000}) {
      EXPECT_EQ(product_cost("csr", density, columns), 1.35 * density + 0.03);
      EXPECT_EQ(product_cost("bitmask", density, columns), 1.5 * density + 0.05);
      EXPECT_EQ(product_cost("bsr4x1", density, columns), 1.1 * density + 0.03);
      EXPECT_EQ(product_cost("nm2:4", density, columns), 1.35 * density + 0.03);
    }
  }
}

TEST(CostModel, RefusesAFormatItDoesNotKnow) {
  EXPECT_REFUSED(product_cost("csc", 0.5, 1), "format = 'csc' is not one of: csr, bitmask, bsr4x1, nm2:4");
}

}  // namespace
}  // namespace sparse_engine
