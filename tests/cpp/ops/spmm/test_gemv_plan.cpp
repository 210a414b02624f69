#include <gtest/gtest.h>

#include "base/registry.hpp"
#include "ops/spmm/spmm_plan.hpp"
#include "reference_plan.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(GemvPlan, AgreesWithTheDefinition) {
  const Weights w = integer_weights(61, 50, 0.3, 1);
  const Csr csr = w.csr();
  const Bitmask bitmask = Bitmask::from_dense(w.values.data(), w.rows, w.cols);
  const std::vector<float> bias = integers(w.rows, 3);
  for (Index n = 1; n <= 8; ++n) {
    const std::vector<float> x = integers(w.cols * n, 2);
    const Expected expected = product(w, x, n, bias);
    for_each_isa([&] {
      for (const Matrix* m : {static_cast<const Matrix*>(&csr), static_cast<const Matrix*>(&bitmask)})
        for (const int threads : {1, 2}) {
          const auto plan = plan_gemv(kernels(), *m, {nullptr, w.cols, n, n, 1}, {nullptr, w.rows, n, n, 1}, threads);
          EXPECT_EQ(plan->strategy(), Strategy::gemv);
          EXPECT_EQ(plan->workspace_bytes() == 0, n == 1) << "one contiguous column is read where it lies";
          expect_exactly(checked_run(*plan, {x.data(), nullptr, {.bias = bias.data()}}, w.rows * n), expected);
        }
    });
  }
}

}  // namespace
}  // namespace sparse_engine
