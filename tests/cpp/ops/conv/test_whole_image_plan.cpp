#include <gtest/gtest.h>

#include "reference_conv_plan.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(WholeImagePlan, AKernelAsLargeAsTheImageIsAProductOfWholeImages) {
  expect_plan({{.kernel_h = 5, .kernel_w = 4}, 3, 6, 5, 4, 19}, Strategy::gemv);
  expect_plan({{.kernel_h = 5, .kernel_w = 4, .stride_h = 2, .stride_w = 3}, 70, 6, 5, 4, 19}, Strategy::panels);
}

TEST(WholeImagePlan, PaddingAndGroupsAreLeftToPlanes) {
  expect_plan({square(5, 1, 1), 2, 6, 3, 3, 19}, Strategy::planes);
  ConvCase grouped{{.kernel_h = 5, .kernel_w = 4}, 3, 6, 5, 4, 18};
  grouped.shape.groups = 2;
  expect_plan(grouped, Strategy::planes);
}

}  // namespace
}  // namespace sparse_engine
