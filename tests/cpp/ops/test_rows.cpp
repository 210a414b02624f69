#include "ops/rows.hpp"

#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

void run(const Plan& plan, const std::vector<float>& x, std::vector<float>& y, const float* second = nullptr,
         const float* third = nullptr, const float* fourth = nullptr) {
  plan.run({.x = x.data(), .y = y.data(), .epilogue = {}, .second = second, .third = third, .fourth = fourth}, nullptr);
}

TEST(Sum, IsOfEveryRow) {
  const std::vector<float> x = integers(130 * 49, 35);
  std::vector<float> y(130, kNaN);
  run(*plan_sum(kernels(), 130, 49, 2), x, y);
  for (Index row = 0; row < 130; ++row) {
    double sum = 0;
    for (Index i = 0; i < 49; ++i) sum += x[row * 49 + i];
    ASSERT_EQ(y[row], sum);
  }
}

TEST(Mean, IsOfEveryRow) {
  for (const int threads : {1, 2}) {
    const std::vector<float> x = integers(130 * 49, 32);
    std::vector<float> y(130, kNaN);
    run(*plan_mean(kernels(), 130, 49, threads), x, y);
    for (Index row = 0; row < 130; ++row) {
      double sum = 0;
      for (Index i = 0; i < 49; ++i) sum += x[row * 49 + i];
      ASSERT_NEAR(y[row], sum / 49, 1e-5);
    }
  }
  EXPECT_REFUSED(plan_mean(kernels(), 3, 0, 1), "at least 1");
}

TEST(Softmax, IsOfEveryRowForAnyNumberOfThreads) {
  const std::vector<float> x = reals(700 * 37, 36);
  std::vector<float> expected(700 * 37);
  for (Index row = 0; row < 700; ++row)
    kernels().softmax_row({x.data() + row * 37, 37, 1.0f, nullptr, false, expected.data() + row * 37});
  for (const int threads : {1, 3}) {
    std::vector<float> y(x.size(), kNaN);
    run(*plan_softmax(kernels(), 700, 37, threads), x, y);
    expect_same_bits(y, expected);
    y = x;
    run(*plan_softmax(kernels(), 700, 37, threads), y, y);
    expect_same_bits(y, expected);
  }
  EXPECT_EQ(plan_softmax(kernels(), 5, 0, 1)->tasks(), 0);
}

TEST(LayerNorm, IsOfEveryRow) {
  const std::vector<float> x = reals(300 * 64, 37), weight = reals(64, 38), bias = reals(64, 39);
  const float epsilon = 1e-5f;
  std::vector<float> expected(x.size());
  for (Index row = 0; row < 300; ++row)
    kernels().layer_norm_row({x.data() + row * 64, 64, epsilon, weight.data(), bias.data(), expected.data() + row * 64});
  for (const int threads : {1, 3}) {
    std::vector<float> y(x.size(), kNaN);
    run(*plan_layer_norm(kernels(), 300, 64, threads), x, y, &epsilon, weight.data(), bias.data());
    expect_same_bits(y, expected);
  }
}

TEST(RmsNorm, IsOfEveryRow) {
  const std::vector<float> x = reals(300 * 64, 37), weight = reals(64, 38);
  const float epsilon = 1e-5f;
  for (const float* const of : {weight.data(), static_cast<const float*>(nullptr)}) {
    std::vector<float> expected(x.size());
    for (Index row = 0; row < 300; ++row)
      kernels().rms_norm_row({x.data() + row * 64, 64, epsilon, of, expected.data() + row * 64});
    for (const int threads : {1, 3}) {
      std::vector<float> y = x;
      run(*plan_rms_norm(kernels(), 300, 64, threads), y, y, &epsilon, of);
      expect_same_bits(y, expected);
    }
  }
  EXPECT_EQ(plan_rms_norm(kernels(), 5, 0, 1)->tasks(), 0);
}

}  // namespace
}  // namespace sparse_engine
