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

TEST(GemvPlan, ActivatesOneColumnToTheSameBitsWhetherItsNumbersLieSideBySideOrNot) {
  constexpr Index apart = 3;
  const Weights w = real_weights(61, 50, 0.3, 1);
  const Csr csr = w.csr();
  const Bitmask bitmask = Bitmask::from_dense(w.values.data(), w.rows, w.cols);
  const std::vector<float> bias = reals(w.rows, 3), x = reals(w.cols, 2), residual = reals(w.rows * apart, 4);
  std::vector<float> of_rows(w.rows);
  for (Index row = 0; row < w.rows; ++row) of_rows[row] = residual[row * apart];
  for (const Activation activation : kActivations)
    for_each_isa([&] {
      for (const Matrix* m : {static_cast<const Matrix*>(&csr), static_cast<const Matrix*>(&bitmask)})
        for (const int threads : {1, 3}) {
          const ConstPanel of_x{nullptr, w.cols, 1, 1, 1};
          const auto dense = plan_gemv(kernels(), *m, of_x, {nullptr, w.rows, 1, 1, 1}, threads);
          const auto strided = plan_gemv(kernels(), *m, of_x, {nullptr, w.rows, 1, apart, 1}, threads);
          const std::vector<float> y = checked_run(
              *dense, {x.data(), nullptr, {.bias = bias.data(), .residual = of_rows.data(), .activation = activation}}, w.rows);
          std::vector<float> far(w.rows * apart, kNaN), found(w.rows);
          strided->run({x.data(), far.data(), {.bias = bias.data(), .residual = residual.data(), .activation = activation}},
                       nullptr);
          for (Index row = 0; row < w.rows; ++row) found[row] = far[row * apart];
          expect_same_bits(y, found);
          std::vector<float> in_place = of_rows;  // the residual's own place
          dense->run({x.data(), in_place.data(), {.bias = bias.data(), .residual = in_place.data(), .activation = activation}},
                     nullptr);
          expect_same_bits(in_place, y);
        }
    });
}

}  // namespace
}  // namespace sparse_engine
