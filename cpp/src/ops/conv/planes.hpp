// Each channel of an image becomes a plane with its padding around it, so that output position p of row r reads tap (i, j) at
// r·pitch + p + a constant: a stored weight needs one offset and the whole plane is one long row of columns. The few columns
// between the end of one output row and the start of the next are computed and dropped. A stride s splits a plane into s × s
// phases, in each of which neighbouring outputs are neighbours again.
#pragma once

#include <cstdint>
#include <limits>

#include "formats/matrix_impl.hpp"
#include "kernels/table.hpp"
#include "ops/spmm/columns.hpp"
#include "sparse_engine/conv.hpp"

namespace sparse_engine {

inline constexpr Index kMaxTaps = 65536;

struct Geometry {
  OutputSize out;
  bool pointwise;            // 1×1 without padding: no planes are needed
  Index pitch, plane_rows;   // of one phase
  Index phases_h, phases_w;  // phases that some tap reads
  Index phase_floats, channel_floats;
  Index positions;  // columns of the product over one image: output rows laid end to end, pitch apart

  ColumnGrid grid() const { return {out.height, out.width, pitch}; }
};

// 1×1 without padding.
bool is_pointwise(const Conv2dParams& s);

// How the rows of a plane follow one another: at once, or each from a cache line on.
enum class Rows { close, aligned };

Geometry geometry(const Conv2dParams& s, const OutputSize& out, Rows rows = Rows::close);

// Which feature maps the channels of an image are. In a convolution over volumes, of `taps` slices, channel c · taps + t of
// image n is channel c of slice n · stride + t · dilation − before; one outside [0, count) is padding. Else images are slices.
struct Slices {
  Index taps = 1, stride = 1, dilation = 1, before = 0, count = std::numeric_limits<Index>::max();
};

// Copies what the output rows from first_row on read of all channels of an image into planes. x: slices, stride_n apart, each
// with x.channels / slices.taps channels.
void pack_slices(const Kernels& table, const ConstImages& x, const Slices& slices, const Conv2dParams& s, const Geometry& g,
                 Index image, Index first_row, float* planes);

// Copies what the output rows from first_row on read of one image's channels [first_channel, first_channel + channels) into
// planes.
void pack_planes(const Kernels& table, const ConstImages& x, const Conv2dParams& s, const Geometry& g, Index image,
                 Index first_row, Index first_channel, Index channels, float* planes);

// Where the columns of one group's weights, rows × channels, find their taps in the planes, of which tiles take so many
// columns.
TileShape planes_shape(const Conv2dParams& s, const Geometry& g, Index rows, Index channels, const Matrix& w,
                       Index tile_columns = kTileColumns);

// The same where each tap of a block of channels is a row of a copy, tile_columns apart.
TileShape copied_shape(const Conv2dParams& s, Index rows, Index channels, Index tile_columns);

}  // namespace sparse_engine
