// Plans of what only moves elements. What lies where it is to be has none.
#pragma once

#include "session/steps.hpp"
#include "session/steps/node_context.hpp"

namespace sparse_engine {

PlannedNode planned_concat(const NodeContext& at);  // a plan for each input
PlannedNode planned_expand(const NodeContext& at);
PlannedNode planned_prefix(const NodeContext& at);  // throws std::invalid_argument where it is longer than the whole
PlannedNode planned_permute(const NodeContext& at);
PlannedNode planned_slice(const NodeContext& at);
PlannedNode planned_pad(const NodeContext& at);
PlannedNode planned_gather(const NodeContext& at);
PlannedNode planned_write_rows(const NodeContext& at);

}  // namespace sparse_engine
