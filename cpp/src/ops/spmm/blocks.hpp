// How many channels of X a tile takes at a time.
#pragma once

#include "formats/matrix_impl.hpp"

namespace sparse_engine {

// Columns of the widest tiles: eight vectors, at least kTileColumns.
Index widest_tile(const Kernels& table);

// Share of the weights that are stored.
double density_of(const Matrix& w);

// Floats of X that a block of columns touches. They fill the L1 cache; where few weights are stored, a row's sums coming and
// going cost more than its X coming from the L2 cache; and where four rows share a load, the L2 cache is fast enough.
Index block_floats(const Matrix& w);

// Refuses blocks of so many channels, `channel_floats` apart, that offsets of 32 bits do not reach across them.
void check_reachable(Index channel_floats, Index channels);

// How W is cut for panels whose rows are channel_step apart; each group of rows reads `channels` of them.
TileShape panel_shape(const Matrix& w, Index group_rows, Index channels, Index channel_step);

}  // namespace sparse_engine
