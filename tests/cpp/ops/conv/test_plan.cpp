#include "ops/conv/plan.hpp"

#include <gtest/gtest.h>

#include "reference_conv_plan.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Conv2dPlan, PointwiseIsAProductOfPanels) {
  expect_plan({square(1, 1, 0), 2, 6, 5, 9, 40}, Strategy::panels);
  expect_plan({square(1, 2, 0), 2, 6, 9, 12, 40}, Strategy::panels);
  ConvCase grouped{square(1, 1, 0), 2, 8, 5, 9, 40};
  grouped.shape.groups = 4;
  expect_plan(grouped, Strategy::panels);
}

TEST(Conv2dPlan, PointwiseReadsImagesInPlaceWhereFewWeightsUseThem) {
  expect_plan({square(1, 1, 0), 2, 48, 6, 8, 24}, Strategy::in_place);
}

}  // namespace
}  // namespace sparse_engine
