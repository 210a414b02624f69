#include "ops/elementwise.hpp"

#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Elementwise, BroadcastsAlongWholeAxes) {
  for (const int threads : {1, 3})
    for (const BroadcastShape s :
         {BroadcastShape{1, 20000, 1}, {7, 30, 1}, {2, 40, 49}, {1, 3, 9000}, {1, 1, 500}, {0, 3, 2}}) {
      const Index all = s.outer * s.middle * s.inner;
      const std::vector<float> a = integers(all, 41), b = integers(s.middle, 42);
      std::vector<float> y(all + 1, kNaN);
      const auto plan = plan_binary(kernels(), BinaryOp::subtract, s, threads);
      plan->run({.x = a.data(), .y = y.data(), .epilogue = {.activation = Activation::relu}, .second = b.data()}, nullptr);
      for (Index i = 0; i < all; ++i)
        ASSERT_EQ(y[i], std::max(a[i] - b[i / s.inner % s.middle], 0.0f))
            << s.outer << " × " << s.middle << " × " << s.inner << ", element " << i;
      ASSERT_TRUE(std::isnan(y[all]));
    }
}

TEST(Elementwise, AppliesAnActivationAlone) {
  const std::vector<float> a = reals(20001, 43);
  std::vector<float> y(a.size(), kNaN);
  const auto plan = plan_binary(kernels(), BinaryOp::first, {1, 20001, 1}, 2);
  plan->run({.x = a.data(), .y = y.data(), .epilogue = {.activation = Activation::relu6}}, nullptr);
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_EQ(y[i], std::min(std::max(a[i], 0.0f), 6.0f));
}

}  // namespace
}  // namespace sparse_engine
