// Inputs that are numbers of rows of a table: the only values of inputs that can be wrong.
#pragma once

#include <cstddef>
#include <vector>

#include "sparse_engine/program.hpp"

namespace sparse_engine {

struct RowNumbers {
  std::size_t input;
  Index rows;  // of the smallest table that its numbers are looked up in
};

// Those of a program, as far as they come to a gather unchanged.
std::vector<RowNumbers> row_numbers_of(const Program& program);

// Throws std::invalid_argument where one of these inputs holds something else than whole numbers in [0, rows).
void check_row_numbers(const Program& program, const std::vector<RowNumbers>& numbers, Index batch,
                       const std::vector<const float*>& inputs);

}  // namespace sparse_engine
