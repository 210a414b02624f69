// What the plan of a node is made of: the node at one batch size, where its operands lie, and who computes it.
#pragma once

#include <vector>

#include "kernels/table.hpp"
#include "session/views.hpp"
#include "session/weights.hpp"
#include "sparse_engine/conv.hpp"
#include "sparse_engine/program.hpp"

namespace sparse_engine {

struct NodeContext {
  const Kernels& table;
  Weights& weights;
  const Program& program;  // of the weights
  const NodeInfo& node;
  const std::vector<View>& views;  // of each value of the program
  Index batch;
  int threads;
  const NodeInfo* expansion = nullptr;  // the node before it that is computed with it

  std::vector<Index> shape(Index value) const { return program.shape(value, batch); }
  const View& view(Index value) const { return views[static_cast<std::size_t>(value)]; }
  std::vector<Index> strides(Index value) const { return strides_of(view(value), shape(value)); }

  // Values of axes (N, C, H, W), or (N, C, W) of height 1, without their addresses. Planes are contiguous.
  ConstImages images_of(Index value) const;
  Images writable_images_of(Index value) const;

  // One where there is too little `work` to wake another thread for.
  int threads_for(Index work) const;
};

}  // namespace sparse_engine
