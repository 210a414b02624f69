#include <gtest/gtest.h>

#include <vector>

#include "base/registry.hpp"
#include "base/tuning.hpp"
#include "ops/conv/plan.hpp"
#include "reference_conv3d.hpp"
#include "reference_plan.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

void expect_plan(const Conv3dCase& c, Strategy strategy) {
  SCOPED_TRACE(c.text());
  const Weights w = integer_weights(c.slice.filters, c.cols(), 0.4, 1);
  const std::vector<float> x = integers(c.inputs(), 2), bias = integers(c.slice.filters, 3), r = integers(c.outputs(), 4);
  Expected expected = convolution(c, w, x, bias);
  for (std::size_t i = 0; i < r.size(); ++i) expected.values[i] += r[i];
  const Expected plain = convolution(c, w, x, bias);
  const Csr csr = w.csr();
  for_each_isa([&] {
    for (const int threads : {1, 2, 3})
      for (const bool residual : {false, true}) {
        const auto plan =
            plan_conv3d(kernels(), csr, input_volumes(c, nullptr), c.shape(), output_volumes(c, nullptr), residual, threads);
        EXPECT_EQ(plan->strategy(), strategy) << threads << " threads";
        EXPECT_EQ(plan->threads(), threads);
        EXPECT_NE(plan->tiles(), nullptr);
        const Epilogue epilogue{.bias = bias.data(), .residual = residual ? r.data() : nullptr};
        expect_exactly(checked_run(*plan, {x.data(), nullptr, epilogue}, c.outputs()), residual ? expected : plain);
      }
  });
}

TEST(Volumes, AreImagesWithTheChannelsOfAllSlicesThatAKernelReads) {
  for (const Index batch : {1, 2, 3, 5}) expect_plan({same_size(3, 1, batch, 4, 7, 9, 40), 4, 3, 1, 1, 1}, Strategy::planes);
  expect_plan({same_size(3, 2, 2, 4, 7, 9, 40), 7, 2, 2, 0, 1, 2}, Strategy::planes);
}

TEST(Volumes, ReadAlongDepthAloneAreImagesAsHighAsTheyAreDeep) {
  expect_plan({same_size(1, 1, 3, 20, 6, 7, 10), 5, 1}, Strategy::panels);
  expect_plan({same_size(1, 1, 3, 4, 6, 8, 10), 5, 3, 2, 1, 1}, Strategy::planes);
  ConvCase depthwise = same_size(1, 1, 2, 10, 6, 8, 10);
  depthwise.shape.groups = 10;
  expect_plan({depthwise, 5, 3, 1, 1, 1}, Strategy::depthwise);
}

TEST(Volumes, ReadAlongDepthAloneAreTakenSomeRowsAtATimeWhereTheyDoNotFitTheCache) {
  const Tuning before = tuning();
  set_tuning(tuned_for({.level2 = 32 << 10, .level3 = 4 << 20}));
  for (const Index batch : {1, 2, 3}) expect_plan({same_size(1, 1, batch, 8, 18, 24, 10), 5, 3, 1, 1, 1}, Strategy::planes);
  expect_plan({same_size(1, 1, 2, 40, 6, 50, 10), 9, 3, 2, 1, 1}, Strategy::banded);  // not even one row does
  expect_plan({same_size(1, 1, 2, 8, 7, 9, 10), 5, 3, 1, 1, 1}, Strategy::planes);    // fewer rows would fill no panel
  set_tuning(before);
}

TEST(Volumes, ReadSliceBySliceAreImages) {
  expect_plan({same_size(1, 2, 3, 20, 6, 8, 10), 5, 1, 2}, Strategy::panels);
  expect_plan({same_size(3, 1, 3, 4, 6, 8, 10), 5, 1, 2}, Strategy::planes);
  ConvCase depthwise = same_size(3, 1, 2, 10, 6, 8, 10);
  depthwise.shape.groups = 10;
  expect_plan({depthwise, 5, 1}, Strategy::depthwise);
  expect_plan({same_size(3, 1, 2, 4, 6, 8, 10), 5, 1, 1, 1, 0}, Strategy::planes);  // slices of padding before them
}

}  // namespace
}  // namespace sparse_engine
