// Columns of a product that are positions of images: how they come into panels, and from results to where they belong.
#pragma once

#include "kernels/table.hpp"
#include "sparse_engine/types.hpp"

namespace sparse_engine {

// The columns of one image: rows of `width`, one beginning `pitch` columns after another. What lies between is no output.
struct ColumnGrid {
  Index height, width, pitch;

  Index columns() const { return (height - 1) * pitch + width; }
  bool operator==(const ColumnGrid&) const = default;
};

// Copies columns [first, first + count) of all channels of x, which lies as a grid without gaps does, image after image. Rows
// of the panel are panel_stride apart and filled up with zeros.
void pack_panel(const Kernels& table, const ColumnGrid& g, const ConstImages& x, Index first, Index count, float* panel,
                Index panel_stride);

// Writes those columns of a result that are outputs to y.
void unpack_result(const Kernels& table, const ColumnGrid& g, const float* result, Index result_pitch, Index channels,
                   Index first, Index count, const Images& y);

// The way back: copies from y what unpack_result would write, and leaves the rest of `result` as it is.
void pack_result(const Kernels& table, const ColumnGrid& g, const ConstImages& y, Index channels, Index first, Index count,
                 float* result, Index result_pitch);

}  // namespace sparse_engine
