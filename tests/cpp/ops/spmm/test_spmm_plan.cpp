#include "ops/spmm/spmm_plan.hpp"

#include <gtest/gtest.h>

#include "base/registry.hpp"
#include "reference_plan.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// `images` images of `height` rows, the columns of each one below another.
struct Case {
  Index rows, cols, images, height, width;
  double density;
  bool channels_last;
  Strategy strategy;
};

void expect_plan(const Case& c, int threads, bool residual) {
  const Index positions = c.height * c.width, n = c.images * positions;
  const Weights w = integer_weights(c.rows, c.cols, c.density, 1);
  const std::vector<float> x = integers(c.cols * n, 2), bias = integers(c.rows, 3), r(c.rows * n, 2.0f);
  std::vector<float> raised = bias;
  if (residual)
    for (float& b : raised) b += 2.0f;
  const auto view = [&](Index channels, auto images) {
    images.batch = c.images, images.channels = channels, images.height = c.height, images.width = c.width;
    images.stride_n = channels * positions;
    images.stride_c = c.channels_last ? 1 : positions;
    images.stride_w = c.channels_last ? channels : 1;
    images.stride_h = c.width * images.stride_w;
    return images;
  };
  const Csr csr = w.csr();
  const ConstImages in = view(c.cols, ConstImages{});
  const Images out = view(c.rows, Images{});
  const auto plan = plan_panels(kernels(), csr, in, 1, out, threads);
  EXPECT_EQ(plan->strategy(), c.strategy);
  const Epilogue epilogue{bias.data(), residual ? r.data() : nullptr, Activation::relu};
  const std::vector<float> y = checked_run(*plan, {x.data(), nullptr, epilogue}, c.rows * n);
  // The definition, image by image on the same strides.
  Expected expected;
  expected.values.resize(y.size());
  expected.bounds.resize(y.size());
  for (Index image = 0; image < c.images; ++image)
    for (Index row = 0; row < c.rows; ++row)
      for (Index p = 0; p < positions; ++p) {
        Expected one;
        add_output(
            w, row, raised, Activation::relu,
            [&](Index k) -> double { return x[image * in.stride_n + k * in.stride_c + p * in.stride_w]; }, one);
        const Index at = image * out.stride_n + row * out.stride_c + p * out.stride_w;
        expected.values[at] = one.values[0];
        expected.bounds[at] = one.bounds[0];
      }
  expect_within_bound(y, expected);
}

TEST(SpmmPlan, PanelsAgreeWithTheDefinition) {
  for (const bool channels_last : {false, true})
    for (const bool residual : {false, true})
      for (const int threads : {1, 2, 3})
        for_each_isa([&] {
          expect_plan({70, 40, 1, 1, 100, 0.3, channels_last, Strategy::panels}, threads, residual);
          expect_plan({33, 20, 3, 5, 7, 0.3, channels_last, Strategy::panels}, threads, residual);
        });
}

TEST(SpmmPlan, ReadsImagesInPlaceWhereFewWeightsUseThem) {
  for (const bool residual : {false, true})
    for (const int threads : {1, 2, 3})
      for_each_isa([&] { expect_plan({40, 48, 2, 6, 8, 0.2, false, Strategy::in_place}, threads, residual); });
}

// One image again and again, as a view of an array may say.
TEST(SpmmPlan, RefusesImagesWhoseElementsCannotBeCounted) {
  const Csr w = integer_weights(1, 64, 0.5, 1).csr();
  constexpr Index kImages = Index{1} << 50;
  const ConstImages x{nullptr, kImages, 64, 64, 64, 0, 4112, 64, 1};
  EXPECT_REFUSED(plan_panels(kernels(), w, x, 1, {nullptr, kImages, 1, 64, 64, 0, 4096, 64, 1}, 1), "x: ");
}

}  // namespace
}  // namespace sparse_engine
