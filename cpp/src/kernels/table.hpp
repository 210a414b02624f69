// What the rest of the library knows of the kernels: their arguments, and one table of functions per instruction set.
//
// Rule K: everything under kernels/ is compiled once per instruction set. It allocates nothing, throws nothing, starts no
// thread, and leaves no symbol that another instruction set's object could be linked against.
#pragma once

#include <stdint.h>

#include <cstdint>

#include "kernels/select/tie_order.hpp"
#include "kernels/table_types.hpp"
#include "sparse_engine/types.hpp"

namespace sparse_engine {

// Columns of X that one tile of a wide product covers, whatever the vector width; and the most, where a tile is as wide as
// eight vectors: sums of fewer wait for one another, as a processor begins two fma a cycle and ends each after four.
inline constexpr int kTileColumns = 64, kMostTileColumns = 128;

inline constexpr std::int64_t kLineFloats = 16;  // of a cache line

// Stored weights of a wide product, one of each of `height` rows below one another, and where they find their row of X.
template <int height>
struct TileEntry {
  std::uint32_t offset;  // in elements of x, from where the block begins
  float values[height];
};

// Strips ahead that a product asks for; `order` goes on for so many.
inline constexpr int kStripsAhead = 6;

// Lanes of the narrowest vectors whose lanes can be picked by number.
inline constexpr int kLeastPicked = 8;

// Where a panel's vectors go in rows of y that have no room for the columns between output rows: of each vector the lanes that
// are outputs, followed by any others, and from which element on they are stored. What the others leave there is overwritten by
// the next vector, of this panel or the next; from `whole` on vectors would reach past the end, and only outputs are stored.
struct PanelPlaces {
  std::int32_t begins[kMostTileColumns / kLeastPicked], outputs[kMostTileColumns / kLeastPicked];
  std::int32_t whole;
  std::uint32_t lanes[kMostTileColumns];  // vector by vector
};

// One block of columns of a tile of rows, see spmm.hpp. A strip is `height` rows that share their columns.
template <int height>
struct SpmmArgs {
  const std::uint32_t* strip_starts;  // strips + 1, into entries
  const std::uint8_t* order;          // strips, then slack: which of the tile's strips comes when
  const TileEntry<height>* entries;
  const float* x;
  const float* sums;  // what sums begin with, or null; may be y
  std::int64_t sums_row_stride;
  float* y;
  std::int64_t y_row_stride;
  std::uint32_t strips;
  std::uint32_t width;        // a multiple of the table's lanes
  const float* bias;          // one per row, or null
  bool from_afar;             // W leaves a core's caches between products: its weights are asked for ahead
  bool fetch_y;               // y is out of the cache: ask for its lines some rows before they are written
  bool stream_y;              // y is to pass the caches by: kTileColumns wide, its rows whole cache lines; single rows only
  const PanelPlaces* places;  // null: y's columns are the panel's; single rows of at least kLeastPicked lanes only
  Activation activation;
};

// What rows times one to eight columns have in common, whatever the format.
struct SkinnyArgs {
  std::int64_t rows;
  std::int64_t columns;   // 1 to 8
  const float* x;         // one column: contiguous; more: eight floats a row, but for slices column after column
  const float* bias;      // one per row, or null
  const float* residual;  // addressed as y is, or null
  float* y;
  std::int64_t y_row_stride, y_column_stride;
  Activation activation;
  const float* scales = nullptr;  // one per row, that its sums are multiplied with first: of int8 only
};

// Kernels of single rows read whole vectors: arrays of columns, values and masks go on for this many elements, all zero.
inline constexpr int kSlackElements = 32;

// Rows of a CSR matrix times few columns, see gemv/csr.hpp.
template <class Column, class Value>
struct CsrGemvArgs {
  const std::int64_t* row_starts;  // rows + 1, into columns and values
  const Column* columns;
  const Value* values;
  bool from_afar;  // the matrix leaves the caches between products: its weights are asked for ahead
  SkinnyArgs skinny;
};

// The same for one column, the weights lying in blocks of columns: all rows of a chunk in the first, then in the second.
constexpr std::int64_t kCsrChunkRows = 128;
template <class Column, class Value>
struct CsrBlocksArgs {
  const std::int64_t*
      starts;  // of row r in block b: starts[(r / kCsrChunkRows * blocks + b) * kCsrChunkRows + r % kCsrChunkRows]
  const Column* columns;
  const Value* values;
  std::int64_t blocks;
  std::int64_t first_row;  // rows of `skinny` count from here
  SkinnyArgs skinny;
};

// The same, eight rows at a time in steps: in each, every row takes at most one of eight neighbouring elements
// of x. A row that takes none has a weight of zero there.
constexpr std::int64_t kSliceRows = 8, kWindow = 8;
template <class Value>
struct SlicedCsrArgs {
  const std::int64_t* slice_starts;  // into the steps; slice s is rows 8 s to 8 s + 7
  const std::uint32_t* steps;        // three bits a row: which element of the window; above 24: how far the window moves before
  const std::uint8_t* stored;  // which of a step's eight rows have a value, a bit each; null: all, a zero where no weight is
  const std::int64_t* value_starts;  // of slices, into the values
  const Value* values;               // step by step; those that are stored go on for kSlackElements where `stored` is given
  std::int64_t first_row;            // rows of `skinny` count from here
  std::int64_t x_stride;             // from one column of x, contiguous, to the next
  CsrGemvArgs<std::uint16_t, Value> plain;  // the same rows, from row 0 of the matrix on
};

// Rows of a bitmask matrix times few columns, see gemv/bitmask.hpp.
template <class Value>
struct BitmaskArgs {
  const std::int64_t* row_starts;  // rows + 1, into values
  const std::uint64_t* masks;      // per row one bit a column, lowest first, whole words
  const Value* values;
  std::int64_t cols;
  SkinnyArgs skinny;
};

// Block rows of a BSR matrix times few columns, see gemv/bsr.hpp.
struct BsrGemvArgs {
  const std::int64_t* block_starts;  // block rows + 1, into block_columns
  const std::uint32_t* block_columns;
  const float* values;  // block by block, column by column
  std::int64_t block_height, block_width;
  SkinnyArgs skinny;  // rows a multiple of block_height
};

// Rows of a 2:4 matrix times few columns, see gemv/nm.hpp. Strip by strip of eight rows (those that are missing hold zeros),
// step by step of eight columns, pair by pair of rows: eight values, by half, row and place. Positions the same, one vector for
// sixteen steps, two bits each.
inline constexpr int kNmStripRows = 8;
struct NmQuadsArgs {
  const float* values;
  const std::uint32_t* positions;
  std::int64_t cols;  // a multiple of 4
  SkinnyArgs skinny;
};

// Rows of an n:m matrix times few columns: row by row, positions from the lowest bits of a word on, none across words.
struct NmArgs {
  const float* values;
  const std::uint32_t* positions;
  std::int64_t row_values, row_words;
  std::int32_t n, m;
  int position_bits;
  SkinnyArgs skinny;
};

// One row of a batch through one time step, see recurrent.hpp.
struct LstmCellArgs {
  const float* gates;  // of the first unit; the next gate's is `hidden` further
  std::int64_t hidden;
  std::int64_t units;  // computed
  float* c;            // before, then after
  float* h;
  float* y;
};

struct GruCellArgs {
  const float* gates;      // of the input and the first unit; the next gate's is `hidden` further
  const float* recurrent;  // of the last state, alike
  std::int64_t hidden;
  std::int64_t units;  // computed
  float* h;            // before, then after
  float* y;
};

// Strided to row-major, see panel.hpp.
struct PackArgs {
  const float* source;
  std::int64_t row_stride, column_stride;
  std::int64_t rows, columns;
  float* target;
  std::int64_t target_stride;
  std::int64_t target_columns;  // columns .. target_columns are filled with zeros
};

// Row-major to strided, see panel.hpp.
struct UnpackArgs {
  const float* source;
  std::int64_t source_stride;
  std::int64_t rows, columns;
  float* target;
  std::int64_t row_stride, column_stride;
};

// Two arrays element by element, see binary.hpp; `first`: a alone, for its activation.
enum class BinaryOp { add, subtract, multiply, divide, maximum, minimum, less, less_equal, equal, keep, first };

struct BinaryArgs {
  BinaryOp op;
  const float* a;
  const float* b;  // as many, or one
  bool b_is_number;
  Activation activation;
  std::int64_t count;
  float* y;  // may be a or b
};

// One row of a pooled plane, see pool.hpp.
struct PoolRowArgs {
  bool maximum;
  const float* x;  // the first of the rows under the window that lie inside the plane
  std::int64_t rows, row_stride, width;
  std::int64_t pad_left, pad_right;
  std::int64_t kernel_w, stride_w, outputs;
  const float* scales;  // of an average, one for each output
  float* folded;        // scratch: pad_left + width + pad_right
  float* y;
};

// Rows of one plane of a depthwise convolution, see depthwise.hpp.
struct DepthwiseArgs {
  const float* x;  // its rows are contiguous
  std::int64_t x_row, height, width;
  std::int64_t first_row, pad_left;  // where the first output's window begins: above and left of the plane are zeros
  int size, stride;                  // 3, 5 or 7; 1 or 2
  const float* taps;                 // size × size
  float bias;
  Activation activation;
  float* y;  // apart from x
  std::int64_t y_row, rows, columns;
};

// One row of a resized plane, see resize.hpp.
struct ResizeRowArgs {
  const float *upper, *lower;  // rows of the plane
  float weight;                // of the lower one
  std::int64_t width;
  const float *columns, *column_weights;  // of each output the column on its left, and how much of the next one it takes
  std::int64_t outputs;
  float* folded;  // scratch: width
  float* y;
};

// y = scale · sum of each row, see rows.hpp.
struct MeanArgs {
  const float* x;
  std::int64_t rows, columns;
  float scale;
  float* y;
};

// y = softmax(scale · x + mask) of one row, see rows.hpp.
struct SoftmaxArgs {
  const float* x;
  std::int64_t columns;
  float scale;
  const float* mask;            // a number for each column, or null
  bool zeros_where_all_masked;  // of a row of −∞, which else is NaN
  float* y;                     // may be x
};

// y = (x − mean) / sqrt(variance + epsilon) · weight + bias of one row, see rows.hpp.
struct LayerNormArgs {
  const float* x;
  std::int64_t columns;
  float epsilon;
  const float *weight, *bias;  // both or neither
  float* y;                    // may be x
};

// y = x / sqrt(mean of squares + epsilon) · weight of one row, see rows.hpp.
struct RmsNormArgs {
  const float* x;
  std::int64_t columns;
  float epsilon;
  const float* weight;  // or null
  float* y;             // may be x
};

// y[row] = Σ a[row]·x, see dot_rows.hpp.
struct DotRowsArgs {
  const float* a;
  std::int64_t a_row;  // from row to row
  std::int64_t rows, columns;
  const float* x;
  float* y;
};

// Y = A · B, see gemm.hpp.
struct GemmArgs {
  const float* a;
  std::int64_t a_row, a_column;  // from row to row, from column to column
  std::int64_t rows, depth;
  const float* b;      // rows of floats that can be read up to a whole vector
  std::int64_t b_row;  // from row to row
  std::int64_t columns;
  float* y;
  std::int64_t y_row;
};

// Counts magnitudes in buckets, see mask.hpp.
// Bits of a magnitude that one pass over the scores tells apart.
inline constexpr int kRadixBits = 16;

template <class Score>
struct HistogramArgs {
  const Score* scores;
  std::uint64_t count;
  // Counted are the magnitudes whose bits from `known` on are `prefix`, by their bits from `shift` up to there. All bits but
  // the upper 16 below the sign are shifted out in the first pass, which takes every score.
  int known, shift;
  std::uint64_t prefix;
  std::uint64_t* histogram;
};

// Scores [first, first + count) of an array with rows of `cols`, and which of them count as ties.
template <class Score>
struct TieArgs {
  const Score* scores;
  std::uint64_t count;
  std::uint64_t array, first, cols;  // where they lie, for tie_order.hpp
  std::uint64_t threshold;           // bits of the magnitude they equal
  std::uint32_t rank;                // the last that keeps any of them
};

template <class Score>
struct SelectArgs {
  TieArgs<Score> ties;
  bool all_ties;          // ranks do not matter
  std::uint64_t at_rank;  // how many ties of the last rank to keep, the first ones
  std::uint8_t* bits;
};

template <class Item>
struct ApplyArgs {
  const std::uint8_t* bits;  // element i is bit i % 8 of byte i / 8
  void* items;               // of Item's size each, aligned or not
  std::uint64_t count;
};

struct Kernels {
  const char* name;
  const char* const* needs;  // processor features, null-terminated, read from the compiler's macros
  int lanes;                 // floats in a vector
#define KERNEL(kernel, result, arguments) result(*kernel) arguments;
#define KERNEL_FOR(kernel, types, result, arguments) \
  template <class... T>                              \
  using kernel##_function = result arguments;        \
  TypedKernels<kernel##_function, types> kernel;
#include "kernels/kernels.inc"
#undef KERNEL
#undef KERNEL_FOR
};

}  // namespace sparse_engine
