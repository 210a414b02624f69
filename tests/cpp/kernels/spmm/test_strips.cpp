// Strips of two and four rows that share their columns: bit for bit what the rows alone would be.
#include "kernels/spmm/in_order.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Strips, OfTwoRowsAddInTheOrderOfColumnsForEveryWidth) { expect_products_in_order<2>(&Kernels::spmm_strips2); }

TEST(Strips, OfFourRowsAddInTheOrderOfColumnsForEveryWidth) { expect_products_in_order<4>(&Kernels::spmm_strips4); }

}  // namespace
}  // namespace sparse_engine
