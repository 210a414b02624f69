#include "sparse_engine/bitmask.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/aligned_array.hpp"
#include "base/check.hpp"
#include "base/float_types.hpp"
#include "formats/row_tiles.hpp"
#include "formats/skinny.hpp"
#include "formats/stored_values.hpp"

namespace sparse_engine {
namespace {

Index words_of(Index cols) { return (cols + 63) / 64; }

Index checked_size(Index rows, Index cols) {
  check(rows >= 0 && cols >= 0, "shape = (", rows, ", ", cols, ") has a negative side");
  check(cols <= std::numeric_limits<std::uint32_t>::max(), "shape = (", rows, ", ", cols, "): at most 2³² − 1 columns");
  checked_mul(checked_mul(rows, cols, "shape"), sizeof(float), "shape in bytes");
  checked_mul(checked_add(rows, 1, "shape"), sizeof(Index), "shape in bytes");
  return rows * cols;
}

}  // namespace

// The array of values goes on for kSlackElements zeros.
struct Bitmask::State final : MatrixImpl {
  // MatrixImpl
  MatrixSize size() const override;
  void to_dense(float* out) const override;
  void multiply_skinny(const SkinnyJob& job) const override;
  Index row_at_share(Index share, Index shares) const override;
  std::shared_ptr<const Tiles> lay_out(const TileShape& shape) const override;
  Index skinny_step() const override;

  Index rows = 0, cols = 0, nnz = 0;
  std::vector<Index> starts{0};
  Array<std::uint64_t> masks;  // rows × words_of(cols)
  StoredValues<BitmaskValues> values;

  // Room for `most` values.
  State(Index rows_, Index cols_, Index most, ValueType type) : rows(rows_), cols(cols_), values(type) {
    starts.reserve(rows + 1);
    masks.resize(rows * words_of(cols));
    values.reserve(most);
  }

  void push(Index row, Index column, float v) {
    masks[row * words_of(cols) + column / 64] |= std::uint64_t{1} << column % 64;
    values.push(v);
    ++nnz;
  }

  void end_row() { starts.push_back(nnz); }

  // Calls body(column, value) for every stored weight of a row, in order.
  template <class Body>
  void for_each_in_row(Index row, const Body& body) const {
    const std::uint64_t* mask = masks.data() + row * words_of(cols);
    values.visit([&](const auto& array) {
      Index i = starts[row];
      for (Index word = 0; word < words_of(cols); ++word)
        for (std::uint64_t bits = mask[word]; bits != 0; bits &= bits - 1)
          body(64 * word + std::countr_zero(bits), widened(array[i++]) * values.scale(row));
    });
  }
};

Bitmask::Bitmask(std::shared_ptr<const State> state) : Matrix(state), state_(std::move(state)) {}
Bitmask::Bitmask(Bitmask&&) noexcept = default;
Bitmask& Bitmask::operator=(Bitmask&&) noexcept = default;
Bitmask::~Bitmask() = default;

Bitmask Bitmask::from_dense(const float* weights, Index rows, Index cols, ValueType type) {
  const Index size = checked_size(rows, cols);
  auto state = std::make_shared<State>(rows, cols, size - std::count(weights, weights + size, 0.0f), type);
  for (Index row = 0; row < rows; ++row) {
    const float* w = weights + row * cols;
    for (Index col = 0; col < cols; ++col) check_fits(type, w[col], "weights[", row, ", ", col, "]");
    state->values.begin_row(w, cols);
    for (Index col = 0; col < cols; ++col)
      if (!is_zero(w[col]) && !state->values.rounds_to_zero(w[col])) state->push(row, col, w[col]);
    state->end_row();
  }
  state->values.seal(state->nnz);
  return Bitmask(std::move(state));
}

Bitmask Bitmask::from_parts(std::span<const std::uint8_t> mask, std::span<const float> values, Index rows, Index cols,
                            ValueType type) {
  const Index size = checked_size(rows, cols);
  const std::vector<std::uint8_t> bits(mask.begin(), mask.end());  // validated as copied: the caller may write meanwhile
  const std::vector<float> kept(values.begin(), values.end());
  const Index bytes = size / 8 + (size % 8 != 0);
  check(static_cast<Index>(bits.size()) == bytes, "mask has ", bits.size(), " bytes; a matrix of shape (", rows, ", ", cols,
        ") needs ", bytes, ", one bit a weight");
  check(size % 8 == 0 || bits.back() >> size % 8 == 0, "mask[", bytes - 1, "] = ", bytes == 0 ? 0 : int{bits.back()},
        " has ones past the last weight; bits from ", size % 8, " on must be 0");
  Index ones = 0;
  for (const std::uint8_t byte : bits) ones += std::popcount(byte);
  check(ones == static_cast<Index>(kept.size()), "mask has ", ones, " ones but there are ", kept.size(),
        " values; they must be equal");
  for (std::size_t i = 0; i < kept.size(); ++i) check_fits(type, kept[i], "values[", i, "]");

  auto state = std::make_shared<State>(rows, cols, ones, type);
  const auto is_kept = [&](Index i) { return (bits[i / 8] >> i % 8 & 1) != 0; };
  for (Index row = 0; row < rows; ++row) {
    Index count = 0;
    for (Index col = 0; col < cols; ++col) count += is_kept(row * cols + col);
    const float* next = kept.data() + state->nnz;
    state->values.begin_row(next, count);
    for (Index col = 0; col < cols; ++col)
      if (is_kept(row * cols + col)) state->push(row, col, *next++);
    state->end_row();
  }
  state->values.seal(state->nnz);
  return Bitmask(std::move(state));
}

ValueType Bitmask::value_type() const { return state_->values.type(); }

MatrixSize Bitmask::State::size() const { return {rows, cols, nnz, bytes_of(starts) + bytes_of(masks) + values.bytes()}; }

void Bitmask::State::to_dense(float* out) const {
  std::fill_n(out, rows * cols, 0.0f);
  for (Index row = 0; row < rows; ++row)
    for_each_in_row(row, [&](Index column, float value) { out[row * cols + column] = value; });
}

std::vector<std::uint8_t> Bitmask::mask() const {
  const Index size = rows() * cols();
  std::vector<std::uint8_t> bits(size / 8 + (size % 8 != 0));
  for (Index row = 0; row < rows(); ++row)
    state_->for_each_in_row(row, [&](Index column, float) {
      const Index i = row * cols() + column;
      bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | 1 << i % 8);
    });
  return bits;
}

std::vector<float> Bitmask::values() const {
  std::vector<float> values;
  values.reserve(nnz());
  for (Index row = 0; row < rows(); ++row) state_->for_each_in_row(row, [&](Index, float value) { values.push_back(value); });
  return values;
}

void Bitmask::State::multiply_skinny(const SkinnyJob& job) const {
  values.visit([&]<class Value>(const Array<Value>& array) {
    job.kernels->bitmask_gemv(BitmaskArgs<Value>{.row_starts = starts.data() + job.row_begin,
                                                 .masks = masks.data() + job.row_begin * words_of(cols),
                                                 .values = array.data(),
                                                 .cols = cols,
                                                 .skinny = skinny_args(job, values.scales())});
  });
}

Index Bitmask::State::skinny_step() const { return 2; }

// Decoding a row takes its time for every column, stored or not.
Index Bitmask::State::row_at_share(Index share, Index shares) const {
  if (share >= shares) return rows;
  const Index row = rows / shares * share + rows % shares * share / shares;
  return row / 2 * 2;  // rows run in pairs
}

std::shared_ptr<const Tiles> Bitmask::State::lay_out(const TileShape& shape) const {
  std::vector<std::uint32_t> columns;
  std::vector<float> widened_values;
  columns.reserve(nnz);
  widened_values.reserve(nnz);
  for (Index row = 0; row < rows; ++row)
    for_each_in_row(row, [&](Index column, float value) {
      columns.push_back(static_cast<std::uint32_t>(column));
      widened_values.push_back(value);
    });
  return std::make_shared<RowTiles>(shape, rows, cols, starts, columns, widened_values);
}

}  // namespace sparse_engine
