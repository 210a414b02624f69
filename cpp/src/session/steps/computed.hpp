// Plans of what computes a value of other values, without weights.
#pragma once

#include "kernels/table_types.hpp"
#include "session/steps.hpp"
#include "session/steps/node_context.hpp"

namespace sparse_engine {

PlannedNode planned_pool(const NodeContext& at);
PlannedNode planned_adaptive_pool(const NodeContext& at);
PlannedNode planned_resize(const NodeContext& at);
PlannedNode planned_mean(const NodeContext& at);                 // or sum
PlannedNode planned_binary(const NodeContext& at, BinaryOp op);  // `first`: the activation alone
PlannedNode planned_softmax(const NodeContext& at);
PlannedNode planned_norm(const NodeContext& at);  // of a layer, or RMS
PlannedNode planned_matmul(const NodeContext& at);
PlannedNode planned_attention(const NodeContext& at);

}  // namespace sparse_engine
