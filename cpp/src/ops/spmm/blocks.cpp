#include "ops/spmm/blocks.hpp"

#include <algorithm>
#include <limits>

#include "base/check.hpp"
#include "base/tuning.hpp"
#include "kernels/table.hpp"

namespace sparse_engine {

Index widest_tile(const Kernels& table) { return std::max<Index>(kTileColumns, Index{8} * table.lanes); }

double density_of(const Matrix& w) {
  return static_cast<double>(w.nnz()) / std::max(1.0, static_cast<double>(w.rows()) * static_cast<double>(w.cols()));
}

Index block_floats(const Matrix& w) {
  const Tuning& t = tuning();
  const double density = density_of(w);
  // Strips with nearly all weights stored read X as fast as the L1 cache gives it, and repay sums that come and go.
  if (w.impl()->strip_height() == 4) return density >= t.dense_strips ? t.block_floats * 3 / 4 : t.strip_block_floats;
  // The rest of the cache is for what streams by: weights and sums. Of few rows a block is used too seldom to be loaded that
  // often.
  if (density >= t.many_kept && w.rows() >= t.many_kept_rows) return t.block_floats * 3 / 4;
  return density >= t.some_kept ? t.block_floats : density >= t.few_kept ? t.block_floats * 3 / 2 : t.block_floats * 3;
}

void check_reachable(Index channel_floats, Index channels) {
  check(checked_mul(channels, channel_floats, "plane") <= std::numeric_limits<std::int32_t>::max(), "a feature map of ",
        channel_floats, " padded elements is too large for direct convolution");
}

TileShape panel_shape(const Matrix& w, Index group_rows, Index channels, Index channel_step) {
  Index most = std::max<Index>(1, block_floats(w) / std::min<Index>(channel_step, kTileColumns));
  // Few weights a row read a third more than the L1 cache holds faster than their sums come and go once more.
  if (channels <= most + most / 3 && density_of(w) < tuning().many_kept) most = std::max<Index>(1, channels);
  // About equal blocks: a short last one would cost nearly as much as a long one.
  const Index blocks = std::max<Index>(1, (channels + most - 1) / most);
  const Index block = std::max<Index>(1, (channels + blocks - 1) / blocks);
  check_reachable(channel_step, block);
  return {.group_rows = group_rows, .block_channels = block, .channel_step = channel_step, .taps = {0}};
}

}  // namespace sparse_engine
