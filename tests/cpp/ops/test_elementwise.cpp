#include "ops/elementwise.hpp"

#include <atomic>

#include "base/registry.hpp"
#include "base/tuning.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Elementwise, BroadcastsAlongWholeAxes) {
  for (const int threads : {1, 3})
    for (const BroadcastShape s : {BroadcastShape{1, 20000, 1},
                                   {7, 30, 1},
                                   {2, 40, 49},
                                   {1, 3, 9000},
                                   {1, 1, 500},
                                   {500, 1, 1},
                                   {20, 1, 7},
                                   {0, 3, 2}}) {
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

std::atomic<int> calls;

TEST(Elementwise, CallsTheKernelOnLongRunsForOneNumberHoweverItIsBroadcast) {
  Kernels counting = kernels();
  counting.binary = [](const BinaryArgs& args) {
    ++calls;
    kernels().binary(args);
  };
  const Index all = 100000;
  const std::vector<float> a = integers(all, 44), b = {3.0f};
  std::vector<float> y(all);
  for (const BroadcastShape s : {BroadcastShape{all, 1, 1}, {1, 1, all}, {100, 1, 1000}}) {
    calls = 0;
    const auto plan = plan_binary(counting, BinaryOp::add, s, 1);
    plan->run({.x = a.data(), .y = y.data(), .epilogue = {}, .second = b.data()}, nullptr);
    EXPECT_LE(calls, 2 * all / Tuning::session.elementwise_floats + 1);
    for (Index i = 0; i < all; ++i) ASSERT_EQ(y[i], a[i] + 3.0f);
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
