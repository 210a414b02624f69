#include "sparse_engine/nm.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/check.hpp"
#include "formats/row_tiles.hpp"
#include "formats/skinny.hpp"

namespace sparse_engine {
namespace {

constexpr Index kStripRows = kNmStripRows;
constexpr Index kPairs = kStripRows / 2;

Index round_up(Index count, Index to) { return (count + to - 1) / to * to; }

}  // namespace

// Two layouts. Two of four (and one of two, which is the same thing where four divides the columns) lie as nm_gemv.hpp reads
// them; everything else row by row, positions packed into words.
struct Nm::State final : MatrixImpl {
  // MatrixImpl
  MatrixSize size() const override;
  void to_dense(float* out) const override;
  void multiply_skinny(const SkinnyJob& job) const override;
  Index row_at_share(Index share, Index shares) const override;
  std::shared_ptr<const Tiles> lay_out(const TileShape& shape) const override;
  Index skinny_step() const override;

  Index rows, cols;
  GroupShape group;
  Index row_values;   // stored weights of a row
  bool quads;         // the first layout
  int position_bits;  // of the second
  Index row_words;    // of the second
  std::vector<float> values;
  std::vector<std::uint32_t> positions;

  State(Index rows_, Index cols_, GroupShape group_) : rows(rows_), cols(cols_), group(group_) {
    check(rows >= 0 && cols >= 0, "shape = (", rows, ", ", cols, ") has a negative side");
    check(group.n >= 1 && group.n < group.m && group.m <= 16, "n:m = ", group.n, ":", group.m, "; 1 <= n < m <= 16 is needed");
    check(cols % group.m == 0, "shape = (", rows, ", ", cols, "): groups of m = ", group.m, " do not divide ", cols,
          " columns; pad the weights");
    check(cols <= std::numeric_limits<std::uint32_t>::max(), "shape = (", rows, ", ", cols, "): at most 2³² − 1 columns");
    const Index padded = checked_mul(checked_add(rows, kStripRows, "shape"), checked_add(cols, 128, "shape"), "shape");
    checked_mul(padded, sizeof(float), "shape in bytes");
    row_values = cols / group.m * group.n;
    quads = group == GroupShape{2, 4} || (group == GroupShape{1, 2} && cols % 4 == 0);
    position_bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(group.m - 1)));
    row_words = (row_values + 32 / position_bits - 1) / (32 / position_bits);
    if (quads) {
      values.resize(round_up(rows, kStripRows) * steps() * 4);
      positions.resize(round_up(rows, kStripRows) / kStripRows * chunks() * kPairs * 8);
    } else {
      values.resize(rows * row_values);
      positions.resize(rows * row_words);
    }
  }

  Index steps() const { return (cols + 7) / 8; }
  Index chunks() const { return (steps() + 15) / 16; }

  // Where stored weight i of a row lies; where its column's lowest bits lie, from which bit on, and how many.
  struct Place {
    Index value, word;
    int shift, bits;
  };
  Place place(Index row, Index i) const {
    if (!quads) {
      const Index per_word = 32 / position_bits;
      return {row * row_values + i, row * row_words + i / per_word, static_cast<int>(i % per_word) * position_bits,
              position_bits};
    }
    const Index strip = row / kStripRows, pair = row % kStripRows / 2, step = i / 4;
    const Index lane = i % 4 / 2 * 4 + row % 2 * 2 + i % 2;
    return {((strip * steps() + step) * kPairs + pair) * 8 + lane, ((strip * chunks() + step / 16) * kPairs + pair) * 8 + lane,
            static_cast<int>(step % 16) * 2, 2};
  }

  void put(Index row, Index i, Index column, float value) {
    const Place p = place(row, i);
    const Index position = quads ? column % 4 : column % group.m;
    values[p.value] = value;
    positions[p.word] |= static_cast<std::uint32_t>(position) << p.shift;
  }

  Index column(Index row, Index i) const {
    const Place p = place(row, i);
    const Index first = quads ? i / 2 * 4 : i / group.n * group.m;
    return first + (positions[p.word] >> p.shift & ((1u << p.bits) - 1));
  }
  float value(Index row, Index i) const { return values[place(row, i).value]; }
};

Nm::Nm(std::shared_ptr<const State> state) : Matrix(state), state_(std::move(state)) {}
Nm::Nm(Nm&&) noexcept = default;
Nm& Nm::operator=(Nm&&) noexcept = default;
Nm::~Nm() = default;

Nm Nm::from_dense(const float* weights, Index rows, Index cols, GroupShape group) {
  auto state = std::make_shared<State>(rows, cols, group);
  for (Index row = 0; row < rows; ++row) {
    for (Index first = 0; first < cols; first += group.m) {
      const float* w = weights + row * cols + first;
      const Index nonzeros = group.m - std::count(w, w + group.m, 0.0f);
      check(nonzeros <= group.n, "weights[", row, ", ", first, ":", first + group.m, "] holds ", nonzeros, " non-zeros; ",
            group.n, ":", group.m, " stores ", group.n,
            "; zero the smallest of the group, or use CSR, which takes any pattern");
      Index fill = group.n - nonzeros, i = first / group.m * group.n;
      for (Index position = 0; position < group.m; ++position) {
        if (w[position] == 0.0f && fill-- <= 0) continue;
        state->put(row, i++, first + position, w[position] == 0.0f ? 0.0f : w[position]);
      }
    }
  }
  return Nm(std::move(state));
}

Nm Nm::from_parts(std::span<const float> values, std::span<const std::uint8_t> positions, Index rows, Index cols,
                  GroupShape group) {
  auto state = std::make_shared<State>(rows, cols, group);
  const Index count = rows * state->row_values;
  check(static_cast<Index>(values.size()) == count, "values has ", values.size(), " entries; ", group.n, ":", group.m,
        " of shape (", rows, ", ", cols, ") needs ", rows, " × ", state->row_values);
  check(static_cast<Index>(positions.size()) == count, "indices has ", positions.size(), " entries, values has ", count,
        "; there must be one index per value");
  for (Index row = 0; row < rows; ++row) {
    Index before = -1;
    for (Index i = 0; i < state->row_values; ++i) {
      const Index at = row * state->row_values + i, position = positions[at];
      if (i % group.n == 0) before = -1;
      check(position < group.m, "indices[", row, ", ", i, "] = ", position, " is outside [0, ", group.m,
            "); indices count within a group");
      check(position > before, "indices[", row, ", ", i, "] = ", position, " follows ", before,
            "; indices increase within a group");
      before = position;
      state->put(row, i, i / group.n * group.m + position, values[at]);
    }
  }
  return Nm(std::move(state));
}

GroupShape Nm::group() const { return state_->group; }
MatrixSize Nm::State::size() const { return {rows, cols, rows * row_values, bytes_of(values) + bytes_of(positions)}; }

void Nm::State::to_dense(float* out) const {
  std::fill_n(out, rows * cols, 0.0f);
  for (Index row = 0; row < rows; ++row)
    for (Index i = 0; i < row_values; ++i) out[row * cols + column(row, i)] = value(row, i);
}

void Nm::State::multiply_skinny(const SkinnyJob& job) const {
  if (quads) {
    const Index strip = job.row_begin / kStripRows;
    job.kernels->nm_gemv_quads({.values = values.data() + strip * steps() * kPairs * 8,
                                .positions = positions.data() + strip * chunks() * kPairs * 8,
                                .cols = cols,
                                .skinny = skinny_args(job)});
  } else {
    job.kernels->nm_gemv({.values = values.data() + job.row_begin * row_values,
                          .positions = positions.data() + job.row_begin * row_words,
                          .row_values = row_values,
                          .row_words = row_words,
                          .n = static_cast<std::int32_t>(group.n),
                          .m = static_cast<std::int32_t>(group.m),
                          .position_bits = position_bits,
                          .skinny = skinny_args(job)});
  }
}

Index Nm::State::skinny_step() const { return kStripRows; }

Index Nm::State::row_at_share(Index share, Index shares) const {
  const Index strips = (rows + kStripRows - 1) / kStripRows;
  return share >= shares ? rows : std::min(rows, strips * share / shares * kStripRows);
}

std::shared_ptr<const Tiles> Nm::State::lay_out(const TileShape& shape) const {
  std::vector<Index> starts{0};
  std::vector<std::uint32_t> columns;
  std::vector<float> stored;
  columns.reserve(rows * row_values);
  stored.reserve(rows * row_values);
  for (Index row = 0; row < rows; ++row) {
    for (Index i = 0; i < row_values; ++i) {
      columns.push_back(static_cast<std::uint32_t>(column(row, i)));
      stored.push_back(value(row, i));
    }
    starts.push_back(static_cast<Index>(columns.size()));
  }
  return std::make_shared<RowTiles>(shape, rows, cols, starts, columns, stored);
}

std::vector<float> Nm::values() const {
  const State& s = *state_;
  std::vector<float> out;
  out.reserve(nnz());
  for (Index row = 0; row < s.rows; ++row)
    for (Index i = 0; i < s.row_values; ++i) out.push_back(s.value(row, i));
  return out;
}

std::vector<std::uint8_t> Nm::positions() const {
  const State& s = *state_;
  std::vector<std::uint8_t> out;
  out.reserve(nnz());
  for (Index row = 0; row < s.rows; ++row)
    for (Index i = 0; i < s.row_values; ++i) out.push_back(static_cast<std::uint8_t>(s.column(row, i) % s.group.m));
  return out;
}

}  // namespace sparse_engine
