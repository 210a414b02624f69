#include <gtest/gtest.h>

#include "base/tuning.hpp"
#include "ops/conv/plan.hpp"
#include "reference_conv_plan.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(PlanesPlan, PlanesHoldWholeImagesWhereTheyFitTheCache) {
  expect_plan(same_size(3, 1, 6, 4, 7, 9, 40), Strategy::planes);
  expect_plan(same_size(3, 2, 6, 4, 9, 11, 34), Strategy::planes);
  expect_plan(same_size(3, 1, 6, 3, 3, 64, 33), Strategy::planes);  // written row by row
}

TEST(PlanesPlan, BandsTakeSomeRowsAtATimeOtherwise) {
  const Tuning before = tuning();
  set_tuning(tuned_for({.level2 = 16 << 10, .level3 = 4 << 20}));
  expect_plan(same_size(3, 1, 1, 8, 40, 24, 40), Strategy::banded);
  expect_plan(same_size(3, 1, 2, 8, 20, 48, 70), Strategy::banded);
  set_tuning(before);
}

}  // namespace
}  // namespace sparse_engine
