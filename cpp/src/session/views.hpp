// Where values lie in one another. What slices, permutations, reshapes and concatenations move needs no copy where those who
// read it, or make it, take strides.
#pragma once

#include <vector>

#include "sparse_engine/program.hpp"

namespace sparse_engine {

// A value lies in the memory of the value `root`, `offset` floats from its beginning. One with memory of its own is its own
// root.
struct View {
  Index root;
  Index offset = 0;
  std::vector<Index> strides = {};  // of its axes, in floats; empty where it is contiguous
  bool of_input = false;            // what its node makes lies in what the node reads: nothing is left to do

  bool contiguous() const { return strides.empty(); }
};

// Of each value. Nodes before `apart_until` run image by image, and what lies in another value there is an image of it.
std::vector<View> find_views(const Program& program, Index batch, std::size_t apart_until);

// How far neighbours of each axis lie apart in a contiguous tensor.
std::vector<Index> contiguous_strides(const std::vector<Index>& shape);

// The strides of a value of a program, also of a contiguous one.
std::vector<Index> strides_of(const View& view, const std::vector<Index>& shape);

// Where the i-th input of a concat has to lie to be part of its result.
View part_of(const Program& program, const NodeInfo& concat, std::size_t input, const View& result, Index batch);

// Where the input of a permutation has to lie to be its result.
View before(const NodeInfo& permute, const View& result, const std::vector<Index>& result_shape);

// Whether two values lie at the same place in the same way; axes of length 1 lie anywhere.
bool same_place(const View& a, const View& b, const std::vector<Index>& shape);

// The distance of rows that all axes but the last make up, which is contiguous itself; −1 where they are not equally far apart.
Index row_stride(const std::vector<Index>& shape, const std::vector<Index>& strides);

}  // namespace sparse_engine
