// Operations on whole rows, each by itself: means, sums, softmax, layer norm, RMS norm.
#pragma once

#include <memory>

#include "kernels/table.hpp"
#include "ops/plan.hpp"

namespace sparse_engine {

// x: `rows` contiguous rows of `columns`. y[row] = mean, or sum, of x[row].
std::shared_ptr<const Plan> plan_mean(const Kernels& table, Index rows, Index columns, int threads);
std::shared_ptr<const Plan> plan_sum(const Kernels& table, Index rows, Index columns, int threads);

// y as large as x; y may be x. Layer norm: second is epsilon, one number; third and fourth weight and bias, `columns` each, or
// null. RMS norm: likewise without a bias.
std::shared_ptr<const Plan> plan_softmax(const Kernels& table, Index rows, Index columns, int threads);
std::shared_ptr<const Plan> plan_layer_norm(const Kernels& table, Index rows, Index columns, int threads);
std::shared_ptr<const Plan> plan_rms_norm(const Kernels& table, Index rows, Index columns, int threads);

}  // namespace sparse_engine
