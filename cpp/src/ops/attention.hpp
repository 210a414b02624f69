// softmax(q · kᵀ / √depth + mask) · v for each head (Vaswani et al., 2017).
#pragma once

#include <memory>

#include "kernels/table.hpp"
#include "ops/plan.hpp"

namespace sparse_engine {

// How far items of the batch, heads and tokens lie apart; the features of a head are contiguous. 0 reads the same again.
struct HeadStrides {
  Index item, head, token;
};

struct AttentionShape {
  Index batch, heads, queries, keys;
  Index depth, width;  // features of a head of q and k, and of v and the result
  Index shared = 1;    // heads of q that share one of k and v
  bool causal;         // query i sees keys up to the i-th
  HeadStrides q, k, v, y;
  bool masked = false;  // operand four: added to the scores; of its columns either all or one for all
  HeadStrides mask{};   // `token`: from query to query
  bool mask_is_one_for_all_keys = false;
  bool by_position = false;  // operand four: for each query the last key that it sees, clamped to the keys there are
  Index position_item = 0;   // how far items of the batch lie apart there
};

// Operands: x, second, third are q, k, v. Rows without a key that is not masked (−∞) are 0.
std::shared_ptr<const Plan> plan_attention(const Kernels& table, const AttentionShape& shape, int threads);

}  // namespace sparse_engine
