// A sparse matrix as the operations see it: how the kept weights are stored is the format's business.
//
// A format is immutable once constructed, so every method is safe to call from several threads.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sparse_engine/types.hpp"

namespace sparse_engine {

struct Kernels;      // one table per instruction set, see cpp/src/kernels
struct PanelPlaces;  // see there too

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

// One tile of rows times up to 64 columns of X.
struct TileJob {
  const Kernels* kernels;  // of the whole call: `width` and the layout of x fit these
  Index tile;
  const float* x;
  Index width;           // columns computed, a multiple of the kernels' lanes
  const float* bias;     // per row of the whole matrix, or null
  const float* initial;  // tile rows × width that sums begin with, initial_row_stride apart, or null; may be y or partial
  Index initial_row_stride;
  Activation activation;
  float* y;  // tile rows × width, row-major, y_row_stride apart
  Index y_row_stride;
  bool fetch_y;               // y is written for the first time and too large to be in the cache
  bool stream_y;              // nor will it be when it is read: its rows are kTileColumns wide and whole cache lines
  const PanelPlaces* places;  // null, or where columns go that are not all outputs
  float* partial;             // where sums wait between blocks, tile rows × 64; may be y
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
  virtual void multiply(const TileJob& job) const = 0;
  // The same tiles for X as another shape says; null where they would have to be cut differently.
  virtual std::shared_ptr<const Tiles> moved(const TileShape&) const { return nullptr; }
};

inline constexpr Index kNarrowColumns = 8;

// How the columns of X lie before a narrow product: row after row, eight floats each, zeros past the last column; or column
// after column.
enum class NarrowOrder { rows, columns };

// Rows [row_begin, row_end) of W times one to eight columns of X: bound by the bytes of W.
struct NarrowJob {
  const Kernels* kernels;
  Index row_begin;
  Index row_end;
  Index columns;
  const float* x;         // as prepare_narrow wants it
  Index x_stride;         // from one column to the next, where they lie in NarrowOrder::columns
  const float* bias;      // per row of the whole matrix, or null
  const float* residual;  // addressed as y is, or null; may be y
  Activation activation;
  float* y;  // element (r, c) is y[r * y_row_stride + c * y_column_stride]
  Index y_row_stride;
  Index y_column_stride;
};

class Matrix {
 public:
  virtual ~Matrix() = default;
  virtual Index rows() const = 0;
  virtual Index cols() const = 0;
  virtual Index nnz() const = 0;                // stored weights
  virtual Index bytes() const = 0;              // memory held, packed layouts included
  virtual void to_dense(float* out) const = 0;  // row-major, rows × cols
  // Before the jobs of a product with few columns, on one thread: lays out what they read, and says how X has to lie for
  // kernels of this table. One column lies the same either way: contiguous. Throws std::bad_alloc.
  virtual NarrowOrder prepare_narrow(const Kernels& table, Index columns) const {
    static_cast<void>(table), static_cast<void>(columns);
    return NarrowOrder::rows;
  }
  virtual void multiply_narrow(const NarrowJob& job) const = 0;
  // First row at which at least `share` of `shares` of the stored weights lie before it: cuts work evenly among threads.
  virtual Index row_at_share(Index share, Index shares) const = 0;
  // Rows of a narrow product begin at multiples of this.
  virtual Index narrow_step() const { return 1; }
  // Rows, one below another, that share their columns and so their loads of X in a wide product.
  virtual Index strip_height() const { return 1; }
  // Laid out on first request; the last few are kept. Throws std::bad_alloc.
  virtual std::shared_ptr<const Tiles> tiles(const TileShape& shape) const = 0;
};

}  // namespace sparse_engine
