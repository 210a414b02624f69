// Shapes of results, from operations and the shapes of what they read.
#pragma once

#include <optional>
#include <vector>

#include "sparse_engine/conv.hpp"
#include "sparse_engine/program.hpp"

namespace sparse_engine {

// How a second operand lies under the first: (outer, middle, inner) axes of x; b holds the middle ones alone.
struct BroadcastAxes {
  std::size_t outer, inner;  // how many axes lie before and behind the middle
};

Conv2dParams conv_params(const NodeInfo& node);
Conv3dParams conv3d_params(const NodeInfo& node);

// The sizes of a value of four axes whose heads lie along axis 1 or 2.
struct AttentionAxes {
  Size batch, heads, tokens, features;
};
AttentionAxes attention_axes(const std::vector<Size>& shape, Index heads_axis);

// Whether a weight slides over planes or volumes.
bool is_convolution(Operation operation);

// Whether every element of the result comes of the elements at its place.
bool is_elementwise(Operation operation);

// Whether a recurrence goes through its steps.
bool is_recurrent(Operation operation);

// None where b does not lie along whole leading and trailing axes of x.
std::optional<BroadcastAxes> broadcast_axes(const std::vector<Size>& x, const std::vector<Size>& b);

// The shape that `node` makes of its inputs (`declared` is what the program says, which a reshape or an expansion takes over
// when it fits). Throws std::invalid_argument where they cannot be its inputs.
std::vector<Size> result_shape(const NodeInfo& node, const std::vector<std::vector<Size>>& inputs, const WeightInfo* weight,
                               const std::vector<Size>& declared);

// Product of sizes at a batch; throws std::invalid_argument past 63 bits or for a negative size.
Index elements_at(const std::vector<Size>& shape, Index batch);

}  // namespace sparse_engine
