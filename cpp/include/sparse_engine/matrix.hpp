// A sparse matrix as the operations see it: how the kept weights are stored is the format's business.
//
// A format is immutable once constructed, so every method is safe to call from several threads.
#pragma once

#include <cstdint>
#include <memory>

#include "sparse_engine/types.hpp"

namespace sparse_engine {

struct Kernels;  // one table per instruction set, see cpp/src/kernels

// How a wide product is cut. Rows are cut into tiles that never cross a multiple of `group_rows` (the groups of a grouped
// convolution); columns into blocks of `block_columns`, so that the part of X a block touches stays in the L1 cache.
struct TileShape {
  Index block_columns;
  Index group_rows;
};

// One tile of rows times up to 64 columns of X. Column k of the matrix reads
//   x[block_bases[k / block_columns] + offsets[k] + 0 .. width),
// so a linear layer and a convolution differ only in these two tables.
struct TileJob {
  const Kernels* kernels;  // of the whole call: `width` and the layout of x fit these
  Index tile;
  const float* x;
  const std::int64_t* block_bases;
  const std::int32_t* offsets;
  Index width;        // columns computed, a multiple of the kernels' lanes
  const float* bias;  // per row of the whole matrix, or null
  Activation activation;
  float* y;  // tile rows × width, row-major, y_row_stride apart
  Index y_row_stride;
  float* partial;  // where sums wait between blocks, tile rows × 64; null: in y
};

// A matrix laid out for wide products.
class Tiles {
 public:
  virtual ~Tiles() = default;
  virtual Index count() const = 0;
  virtual Index row_begin(Index tile) const = 0;
  virtual Index row_end(Index tile) const = 0;
  virtual void multiply(const TileJob& job) const = 0;
};

// Rows [row_begin, row_end) of W times one contiguous vector.
struct VectorJob {
  Index row_begin;
  Index row_end;
  const float* x;
  const float* bias;  // per row of the whole matrix, or null
  Activation activation;
  float* y;  // element of row r is y[r * y_stride]
  Index y_stride;
};

class Matrix {
 public:
  virtual ~Matrix() = default;
  virtual Index rows() const = 0;
  virtual Index cols() const = 0;
  virtual Index nnz() const = 0;                // stored weights
  virtual Index bytes() const = 0;              // memory held, packed layouts included
  virtual void to_dense(float* out) const = 0;  // row-major, rows × cols
  virtual void multiply_vector(const VectorJob& job) const = 0;
  // First row at which at least `share` of `shares` of the stored weights lie before it: cuts work evenly among threads.
  virtual Index row_at_share(Index share, Index shares) const = 0;
  // Laid out on first request and kept. Throws std::bad_alloc.
  virtual std::shared_ptr<const Tiles> tiles(const TileShape& shape) const = 0;
};

}  // namespace sparse_engine
