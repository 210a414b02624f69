#include "sparse_engine/bsr.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/check.hpp"
#include "formats/row_tiles.hpp"
#include "formats/skinny.hpp"

namespace sparse_engine {

struct Bsr::State final : MatrixImpl {
  // MatrixImpl
  MatrixSize size() const override;
  void to_dense(float* out) const override;
  void multiply_skinny(const SkinnyJob& job) const override;
  Index row_at_share(Index share, Index shares) const override;
  std::shared_ptr<const Tiles> lay_out(const TileShape& shape) const override;
  Index skinny_step() const override;
  Index strip_height() const override;

  Index rows, cols;
  BlockShape block;
  std::vector<Index> starts;           // per block row, into columns
  std::vector<std::uint32_t> columns;  // of blocks
  std::vector<float> values;           // per block column by column, so that a column's weights are a vector

  State(Index rows_, Index cols_, BlockShape block_) : rows(rows_), cols(cols_), block(block_) {
    check(rows >= 0 && cols >= 0, "shape = (", rows, ", ", cols, ") has a negative side");
    check(block.height >= 1 && block.width >= 1, "block = (", block.height, ", ", block.width, "); both must be at least 1");
    check(rows % block.height == 0 && cols % block.width == 0, "block = (", block.height, ", ", block.width,
          ") does not divide the shape (", rows, ", ", cols, "); pad the weights");
    check(cols <= std::numeric_limits<std::uint32_t>::max(), "shape = (", rows, ", ", cols, "): at most 2³² − 1 columns");
    checked_mul(checked_mul(rows, cols, "shape"), sizeof(float), "shape in bytes");
    checked_mul(checked_add(rows, 1, "shape"), sizeof(Index), "shape in bytes");
    checked_mul(block.height, block.width, "block");
  }

  Index area() const { return block.height * block.width; }

  // A block as the caller has it, rows `row_stride` apart.
  void push(Index column, const float* weights, Index row_stride) {
    columns.push_back(static_cast<std::uint32_t>(column));
    for (Index j = 0; j < block.width; ++j)
      for (Index i = 0; i < block.height; ++i) values.push_back(weights[i * row_stride + j]);
  }

  bool any(const float* weights) const {
    for (Index i = 0; i < block.height; ++i)
      for (Index j = 0; j < block.width; ++j)
        if (weights[i * cols + j] != 0.0f) return true;
    return false;
  }

  // Strips of `height` rows each, those that hold nothing but zeros left out.
  template <int height>
  std::shared_ptr<const Tiles> strips(const TileShape& shape) const {
    std::vector<Index> strip_starts{0};
    std::vector<std::uint32_t> strip_columns;
    std::vector<float> strip_values;
    for (Index row = 0; row < rows; row += height) {
      const Index block_row = row / block.height, inside = row % block.height;
      for (Index i = starts[block_row]; i < starts[block_row + 1]; ++i) {
        for (Index j = 0; j < block.width; ++j) {
          const float* strip = values.data() + i * area() + j * block.height + inside;
          if (std::all_of(strip, strip + height, [](float w) { return w == 0.0f; })) continue;
          strip_columns.push_back(static_cast<std::uint32_t>(columns[i] * block.width + j));
          strip_values.insert(strip_values.end(), strip, strip + height);
        }
      }
      strip_starts.push_back(static_cast<Index>(strip_columns.size()));
    }
    return std::make_shared<StripTiles<height>>(shape, rows, cols, strip_starts, strip_columns, strip_values);
  }
};

Bsr::Bsr(std::shared_ptr<const State> state) : Matrix(state), state_(std::move(state)) {}
Bsr::Bsr(Bsr&&) noexcept = default;
Bsr& Bsr::operator=(Bsr&&) noexcept = default;
Bsr::~Bsr() = default;

Bsr Bsr::from_dense(const float* weights, Index rows, Index cols, BlockShape block) {
  auto state = std::make_shared<State>(rows, cols, block);
  state->starts.reserve(rows / block.height + 1);
  state->starts.push_back(0);
  for (Index row = 0; row < rows; row += block.height) {
    for (Index col = 0; col < cols; col += block.width) {
      const float* corner = weights + row * cols + col;
      if (state->any(corner)) state->push(col / block.width, corner, cols);
    }
    state->starts.push_back(static_cast<Index>(state->columns.size()));
  }
  return Bsr(std::move(state));
}

Bsr Bsr::from_parts(std::span<const std::int64_t> row_starts, std::span<const std::int64_t> column_indices,
                    std::span<const float> values, Index rows, Index cols, BlockShape block) {
  auto state = std::make_shared<State>(rows, cols, block);
  const Index block_rows = rows / block.height, block_cols = cols / block.width, area = state->area();
  const Index blocks = static_cast<Index>(column_indices.size());
  check(static_cast<Index>(row_starts.size()) == block_rows + 1, "indptr has ", row_starts.size(), " entries; ", rows,
        " rows in blocks of ", block.height, " need ", block_rows, " + 1");
  check(static_cast<Index>(values.size()) == checked_mul(blocks, area, "values"), "values has ", values.size(), " entries; ",
        blocks, " blocks of ", block.height, " × ", block.width, " need ", blocks, " · ", area);
  state->starts.assign(row_starts.begin(), row_starts.end());  // validated as copied: the caller may write meanwhile
  const std::vector<Index>& starts = state->starts;
  check_starts(starts, blocks, "blocks");
  state->columns.reserve(blocks);
  state->values.reserve(values.size());
  std::vector<std::pair<Index, Index>> row_blocks;  // column, place in values
  for (Index row = 0; row < block_rows; ++row) {
    row_blocks.clear();
    for (Index i = starts[row]; i < starts[row + 1]; ++i) {
      const Index col = column_indices[i];
      check(col >= 0 && col < block_cols, "indices[", i, "] = ", col, " is outside [0, ", block_cols, ") (block row ", row,
            "); indices count blocks from 0");
      row_blocks.emplace_back(col, i);
    }
    std::sort(row_blocks.begin(), row_blocks.end());
    for (std::size_t i = 0; i < row_blocks.size(); ++i) {
      check(i == 0 || row_blocks[i].first != row_blocks[i - 1].first, "indices: block column ", row_blocks[i].first,
            " occurs twice in block row ", row, "; add the blocks up first");
      state->push(row_blocks[i].first, values.data() + row_blocks[i].second * area, block.width);
    }
  }
  return Bsr(std::move(state));
}

BlockShape Bsr::block() const { return state_->block; }

MatrixSize Bsr::State::size() const {
  return {rows, cols, static_cast<Index>(values.size()), bytes_of(starts) + bytes_of(columns) + bytes_of(values)};
}

void Bsr::State::to_dense(float* out) const {
  std::fill_n(out, rows * cols, 0.0f);
  for (Index block_row = 0; block_row < rows / block.height; ++block_row)
    for (Index i = starts[block_row]; i < starts[block_row + 1]; ++i)
      for (Index c = 0; c < block.width; ++c)
        for (Index r = 0; r < block.height; ++r)
          out[(block_row * block.height + r) * cols + columns[i] * block.width + c] = values[i * area() + c * block.height + r];
}

void Bsr::State::multiply_skinny(const SkinnyJob& job) const {
  job.kernels->bsr_gemv({.block_starts = starts.data() + job.row_begin / block.height,
                         .block_columns = columns.data(),
                         .values = values.data(),
                         .block_height = block.height,
                         .block_width = block.width,
                         .skinny = skinny_args(job)});
}

Index Bsr::State::skinny_step() const { return block.height; }

Index Bsr::State::row_at_share(Index share, Index shares) const { return block.height * start_at_share(starts, share, shares); }

Index Bsr::State::strip_height() const { return std::gcd(block.height, Index{4}); }

std::shared_ptr<const Tiles> Bsr::State::lay_out(const TileShape& shape) const {
  // Tiles begin at multiples of eight rows of a group, and must not cut a strip.
  const Index common = std::gcd(block.height, shape.group_rows);
  if (common % 4 == 0) return strips<4>(shape);
  if (common % 2 == 0) return strips<2>(shape);
  return strips<1>(shape);
}

std::span<const std::int64_t> Bsr::row_starts() const { return state_->starts; }

std::vector<std::int64_t> Bsr::column_indices() const { return {state_->columns.begin(), state_->columns.end()}; }

std::vector<float> Bsr::values() const {
  const State& s = *state_;
  std::vector<float> out(s.values.size());
  for (std::size_t i = 0; i < s.columns.size(); ++i)
    for (Index c = 0; c < s.block.width; ++c)
      for (Index r = 0; r < s.block.height; ++r)
        out[i * s.area() + r * s.block.width + c] = s.values[i * s.area() + c * s.block.height + r];
  return out;
}

}  // namespace sparse_engine
