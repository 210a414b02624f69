// Plans of products with the weights of a program.
#pragma once

#include "ops/recurrent_plan.hpp"
#include "session/steps.hpp"
#include "session/steps/node_context.hpp"

namespace sparse_engine {

PlannedNode planned_linear(const NodeContext& at);
PlannedNode planned_conv(const NodeContext& at);  // with its expansion, if it has one
PlannedNode planned_conv3d(const NodeContext& at);
PlannedNode planned_recurrence(const NodeContext& at, Cell cell);

}  // namespace sparse_engine
