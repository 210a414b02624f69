// Rows of a table replaced by others: what a decoder's cache of keys and values takes in at each step.
#pragma once

#include <memory>

#include "ops/plan.hpp"

namespace sparse_engine {

// `tables` of `rows` rows with `width` floats; `written` rows are replaced in each. Of the numbers of those rows, `heads`
// tables in turn share the same ones, and the next ones lie `numbers_apart` further, 0 for the same again.
struct WrittenRows {
  Index tables, rows, width, written, heads, numbers_apart;
};

// y is x but for the rows whose numbers operand three has: operand two's. Where y is x itself nothing else is touched. A number
// that is no row writes nothing: tasks do not throw. Of two equal numbers the later one counts.
std::shared_ptr<const Plan> plan_write_rows(const WrittenRows& shape, int threads);

}  // namespace sparse_engine
