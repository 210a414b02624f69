// A convolution's plan against the definition.
#pragma once

#include <vector>

#include "base/registry.hpp"
#include "ops/conv/plan.hpp"
#include "reference_conv.hpp"
#include "reference_plan.hpp"

namespace sparse_engine::reference {

inline void expect_plan(const ConvCase& c, Strategy strategy) {
  SCOPED_TRACE(c.text());
  const Weights w = integer_weights(c.filters, c.cols(), 0.4, 1);
  const std::vector<float> x = integers(c.inputs(), 2), bias = integers(c.filters, 3), r(c.outputs(), 2.0f);
  std::vector<float> raised = bias;
  for (float& b : raised) b += 2.0f;
  const Expected plain = convolution(c, w, x, bias), added = convolution(c, w, x, raised);
  const Csr csr = w.csr();
  for_each_isa([&] {
    for (const int threads : {1, 2, 3})
      for (const bool residual : {false, true}) {
        const auto plan =
            plan_conv2d(kernels(), csr, input_images(c, nullptr), c.shape, output_images(c, nullptr), residual, threads);
        EXPECT_EQ(plan->strategy(), strategy) << threads << " threads";
        const Epilogue epilogue{.bias = bias.data(), .residual = residual ? r.data() : nullptr};
        expect_exactly(checked_run(*plan, {x.data(), nullptr, epilogue}, c.outputs()), residual ? added : plain);
      }
  });
}

}  // namespace sparse_engine::reference
