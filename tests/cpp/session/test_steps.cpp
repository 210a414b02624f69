#include "session/steps.hpp"

#include "base/registry.hpp"
#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Steps, SayHowANodeRuns) {
  sparse_engine::Weights weights(std::make_shared<Program>(residual_network()));
  const auto& nodes = weights.program().nodes();
  const auto planned = [&](std::size_t n, Index batch) {
    return plan_node(kernels(), weights, nodes[n], find_views(weights.program(), batch, 0), batch, 2);
  };
  EXPECT_EQ(planned(0, 1).kernel, "planes, csr");
  EXPECT_EQ(planned(2, 1).kernel, "rows");
  EXPECT_EQ(planned(3, 1).kernel, "gemv, bitmask");
  EXPECT_EQ(planned(3, 20).kernel, "panels, csr");
  EXPECT_EQ(planned(1, 4).multiply_adds, 4 * planned(1, 1).multiply_adds);
  EXPECT_EQ(planned(3, 1).plans[0]->threads(), 1) << "too little to wake another thread for";
}

TEST(Steps, CountColumnsOfOneItem) {
  const Program program(residual_network());
  EXPECT_EQ(columns_of_item(program, program.nodes()[0]), 64);
  EXPECT_EQ(columns_of_item(program, program.nodes()[3]), 1);
}

}  // namespace
}  // namespace sparse_engine
