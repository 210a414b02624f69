// What formats give to operations: how a matrix is laid out for products with few columns and with many.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/table.hpp"
#include "sparse_engine/cost_model.hpp"
#include "sparse_engine/matrix.hpp"

namespace sparse_engine {

// How a wide product is cut, and where it finds X. Rows are cut into tiles that never cross a multiple of `group_rows` (the
// groups of a grouped convolution). Columns are numbered channel by channel, tap by tap (a linear layer has one tap); column k
// reads the floats of X from
//   channel · channel_step + taps[tap],  channel = k / taps.size(),  tap = k % taps.size(),
// on, so a linear layer and a convolution differ only in this. `block_channels` of them at a time, for the L1 cache.
struct TileShape {
  Index group_rows;
  Index block_channels;
  Index channel_step;
  std::vector<std::int32_t> taps;

  bool operator==(const TileShape&) const = default;
};

// One tile of rows times columns of X.
struct TileJob {
  const Kernels* kernels;  // of the whole call: `width` and the layout of x fit these
  Index tile;
  const float* x;        // of the first block
  Index width;           // columns computed, a multiple of the kernels' lanes
  const float* bias;     // per row of the whole matrix, or null
  const float* initial;  // tile rows × width that sums begin with, initial_row_stride apart, or null; may be y or partial
  Index initial_row_stride;
  Activation activation;
  float* y;  // tile rows × width, row-major, y_row_stride apart
  Index y_row_stride;
  bool fetch_y;                  // y is written for the first time and too large to be in the cache
  bool stream_y;                 // nor will it be when it is read: its rows are kTileColumns wide and whole cache lines
  const PanelPlaces* places;     // null, or where columns go that are not all outputs
  Index first_block, end_block;  // sums of the blocks before are in `partial`, and those of the ones behind are to come
  float* partial;                // where sums wait between blocks, tile rows × width; may be y
  Index partial_row_stride;
};

// A matrix laid out for wide products.
class Tiles {
 public:
  virtual ~Tiles() = default;
  virtual const TileShape& shape() const = 0;
  virtual Index bytes() const = 0;  // memory held
  virtual Index count() const = 0;
  virtual Index row_begin(Index tile) const = 0;
  virtual Index row_end(Index tile) const = 0;
  virtual Index blocks() const = 0;  // of columns
  virtual void multiply(const TileJob& job) const = 0;
  // The same tiles for X as another shape says; null where they would have to be cut differently.
  virtual std::shared_ptr<const Tiles> moved(const TileShape&) const { return nullptr; }
};

// How the columns of X lie before a skinny product: row after row, eight floats each, zeros past the last column; or column
// after column.
enum class SkinnyOrder { rows, columns };

// Rows [row_begin, row_end) of W times one to eight columns of X: bound by the bytes of W.
struct SkinnyJob {
  const Kernels* kernels;
  Index row_begin;
  Index row_end;
  Index columns;
  const float* x;         // in the order of what multiplies
  Index x_stride;         // from one column to the next, where they lie in SkinnyOrder::columns
  const float* bias;      // per row of the whole matrix, or null
  const float* residual;  // addressed as y is, or null; may be y
  Activation activation;
  float* y;  // element (r, c) is y[r * y_row_stride + c * y_column_stride]
  Index y_row_stride;
  Index y_column_stride;
};

// A matrix laid out once more for products with few columns, which then lie in SkinnyOrder::columns. May refer to the matrix's
// arrays, so whoever holds it holds the MatrixImpl too.
class SkinnyLayout {
 public:
  virtual ~SkinnyLayout() = default;
  virtual void multiply(const SkinnyJob& job) const = 0;
  virtual Index bytes() const = 0;
};

// Which of them a product takes; `none`: the matrix as it lies, with columns in SkinnyOrder::rows.
enum class SkinnyKind { none, blocks, sliced };

struct MatrixSize {
  Index rows, cols;
  Index nnz;    // stored weights
  Index bytes;  // memory held by them
};

class MatrixImpl {
 public:
  virtual ~MatrixImpl() = default;
  virtual MatrixSize size() const = 0;
  virtual void to_dense(float* out) const = 0;

  virtual SkinnyKind skinny_kind(const Kernels& table, Index columns) const {
    static_cast<void>(table), static_cast<void>(columns);
    return SkinnyKind::none;
  }
  // Of a kind that skinny_kind() named. Throws std::bad_alloc.
  virtual std::shared_ptr<const SkinnyLayout> lay_out_skinny(SkinnyKind) const { return nullptr; }
  virtual void multiply_skinny(const SkinnyJob& job) const = 0;  // as it lies
  // First row at which at least `share` of `shares` of the stored weights lie before it: cuts work evenly among threads.
  virtual Index row_at_share(Index share, Index shares) const = 0;
  // Rows of a skinny product begin at multiples of this.
  virtual Index skinny_step() const { return 1; }

  // Rows, one below another, that share their columns and so their loads of X in a wide product.
  virtual Index strip_height() const { return 1; }
  // Throws std::bad_alloc, and std::invalid_argument for shapes that cannot be (check_tile_shape).
  virtual std::shared_ptr<const Tiles> lay_out(const TileShape& shape) const = 0;
};

}  // namespace sparse_engine
