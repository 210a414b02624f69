#include "sparse_engine/csr.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <mutex>
#include <numeric>
#include <optional>
#include <type_traits>

#include "base/aligned_array.hpp"
#include "base/check.hpp"
#include "base/float_types.hpp"
#include "base/parallel.hpp"
#include "base/tuning.hpp"
#include "base/workspace.hpp"
#include "formats/csr_blocks.hpp"
#include "formats/csr_sliced.hpp"
#include "formats/row_tiles.hpp"
#include "formats/skinny.hpp"
#include "formats/stored_values.hpp"

// Column indices take 16 bits up to this many columns, 32 above. Tests lower it to run the wide path on small data.
#ifndef SPARSE_ENGINE_COLUMNS_OF_16_BITS
#define SPARSE_ENGINE_COLUMNS_OF_16_BITS 65536
#endif

namespace sparse_engine {
namespace {

Index checked_size(Index rows, Index cols) {
  check(rows >= 0 && cols >= 0, "shape = (", rows, ", ", cols, ") has a negative side");
  check(cols <= std::numeric_limits<std::uint32_t>::max(), "shape = (", rows, ", ", cols, "): at most 2³² − 1 columns");
  checked_mul(checked_mul(rows, cols, "shape"), sizeof(float), "shape in bytes");
  checked_mul(checked_add(rows, 1, "shape"), sizeof(Index), "shape in bytes");
  return rows * cols;
}

}  // namespace

// The arrays of columns and values go on for kSlackElements zeros.
struct Csr::State final : MatrixImpl {
  // MatrixImpl
  MatrixSize size() const override;
  void to_dense(float* out) const override;
  void multiply_skinny(const SkinnyJob& job) const override;
  Index row_at_share(Index share, Index shares) const override;
  std::shared_ptr<const Tiles> lay_out(const TileShape& shape) const override;
  SkinnyKind skinny_kind(const Kernels& table, Index columns) const override;
  std::shared_ptr<const SkinnyLayout> lay_out_skinny(SkinnyKind kind) const override;

  Index rows = 0, cols = 0, nnz = 0;
  bool from_afar = false;  // too large to be in a cache at the next product
  std::vector<Index> starts;
  Array<std::uint16_t> columns16;  // exactly one of the two holds the columns
  Array<std::uint32_t> columns32;
  StoredValues<CsrValues> values;

  // Counted at the first product with few columns.
  mutable std::once_flag costs_counted;
  mutable std::optional<SlicedCsrCosts> costs;

  bool has_16_bit_columns() const { return cols <= SPARSE_ENGINE_COLUMNS_OF_16_BITS; }
  void reserve(Index most) {
    has_16_bit_columns() ? columns16.reserve(most + kSlackElements) : columns32.reserve(most + kSlackElements);
    values.reserve(most);
  }
  void push(Index column, float value) {
    if (has_16_bit_columns()) {
      columns16.push_back(static_cast<std::uint16_t>(column));
    } else {
      columns32.push_back(static_cast<std::uint32_t>(column));
    }
    values.push(value);
    ++nnz;
  }
  void seal() {
    has_16_bit_columns() ? columns16.resize(nnz + kSlackElements) : columns32.resize(nnz + kSlackElements);
    values.seal(nnz);
    from_afar = bytes_of(columns16) + bytes_of(columns32) + values.bytes() > tuning().matrix_bytes;
  }
  // All weights that are not zero, counted first, so that threads know where theirs go.
  void take_float32(const float* weights) {
    constexpr Index kWeightsPerTask = 1 << 15;
    const Index rows_per_task = std::max<Index>(1, kWeightsPerTask / std::max<Index>(1, cols));
    const Index tasks = (rows + rows_per_task - 1) / rows_per_task;
    const int threads = threads_for(rows * cols);
    starts.resize(rows + 1);
    parallel::parallel_for(tasks, threads, [&](Index task, int) {
      for (Index row = task * rows_per_task; row < std::min(rows, (task + 1) * rows_per_task); ++row)
        starts[row + 1] = stored_in(weights + row * cols, cols);
    });
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    nnz = starts[rows];
    reserve(nnz);
    seal();
    Array<float>& stored = values.floats();
    const auto take = [&](auto* columns) {
      parallel::parallel_for(tasks, threads, [&](Index task, int) {
        const Index end = std::min(rows, (task + 1) * rows_per_task);
        for (Index row = task * rows_per_task; row < end; ++row)
          take_row(weights + row * cols, cols, columns + starts[row], stored.data() + starts[row],
                   starts[row + 1] - starts[row]);
      });
    };
    has_16_bit_columns() ? take(columns16.data()) : take(columns32.data());
  }
  static Index stored_in(const float* weights, Index count) {
    constexpr Index kMost = 1 << 30;  // a 32-bit sum takes no more at a time
    Index sum = 0;
    for (Index first = 0; first < count; first += kMost) {
      std::int32_t part = 0;
      for (Index i = first; i < std::min(count, first + kMost); ++i) part += weights[i] != 0.0f;
      sum += part;
    }
    return sum;
  }
  // Without branches, for which weights stay cannot be foreseen: a zero is written where the next weight goes, and nothing once
  // `count` are found, for there the next row begins.
  template <class Column>
  static void take_row(const float* weights, Index cols, Column* columns, float* stored, Index count) {
    Index at = 0;
    for (Index col = 0; at < count && col < cols; ++col) {
      columns[at] = static_cast<Column>(col);
      stored[at] = weights[col];
      at += !is_zero(weights[col]);
    }
  }
  template <class Use>
  auto with_entries(const Use& use) const {
    return values.visit(
        [&](const auto& array) { return has_16_bit_columns() ? use(columns16, array) : use(columns32, array); });
  }
  bool slices_pay(Index columns) const {
    std::call_once(costs_counted, [&] {
      const Index value_bytes = values.visit([](const auto& array) { return Index{sizeof(array[0])}; });
      costs.emplace(cols, starts, columns16, value_bytes);
    });
    return costs->pay(columns);
  }
};

Csr::Csr(std::shared_ptr<const State> state) : Matrix(state), state_(std::move(state)) {}
Csr::Csr(Csr&&) noexcept = default;
Csr& Csr::operator=(Csr&&) noexcept = default;
Csr::~Csr() = default;

Csr Csr::from_dense(const float* weights, Index rows, Index cols, ValueType type) {
  const Index size = checked_size(rows, cols);
  auto state = std::make_shared<State>();
  state->rows = rows;
  state->cols = cols;
  state->values = StoredValues<CsrValues>(type);
  if (type == ValueType::float32) {
    state->take_float32(weights);
    return Csr(std::move(state));
  }
  state->reserve(size - std::count(weights, weights + size, 0.0f));
  state->starts.reserve(rows + 1);
  state->starts.push_back(0);
  for (Index row = 0; row < rows; ++row) {
    const float* w = weights + row * cols;
    for (Index col = 0; col < cols; ++col) check_fits(type, w[col], "weights[", row, ", ", col, "]");
    state->values.begin_row(w, cols);
    for (Index col = 0; col < cols; ++col)
      if (!is_zero(w[col]) && !state->values.rounds_to_zero(w[col])) state->push(col, w[col]);
    state->starts.push_back(state->nnz);
  }
  state->seal();
  return Csr(std::move(state));
}

Csr Csr::from_parts(std::span<const std::int64_t> row_starts, std::span<const std::int64_t> column_indices,
                    std::span<const float> values, Index rows, Index cols) {
  checked_size(rows, cols);
  const Index nnz = static_cast<Index>(values.size());
  check(static_cast<Index>(row_starts.size()) == checked_add(rows, 1, "indptr"), "indptr has ", row_starts.size(),
        " entries; a matrix of ", rows, " rows needs ", rows, " + 1");
  check(column_indices.size() == values.size(), "indices has ", column_indices.size(), " entries, values has ", nnz,
        "; there must be one index per value");
  auto state = std::make_shared<State>();
  state->rows = rows;
  state->cols = cols;
  state->starts.assign(row_starts.begin(), row_starts.end());  // validated as copied: the caller may write meanwhile
  const std::vector<Index>& starts = state->starts;
  check_starts(starts, nnz, "values");
  state->reserve(nnz);
  std::vector<std::pair<Index, float>> row_entries;
  for (Index row = 0; row < rows; ++row) {
    row_entries.clear();
    for (Index i = starts[row]; i < starts[row + 1]; ++i) {
      const Index col = column_indices[i];
      check(col >= 0 && col < cols, "indices[", i, "] = ", col, " is outside [0, ", cols, ") (row ", row,
            "); indices are 0-based");
      row_entries.emplace_back(col, values[i]);
    }
    const auto by_column = [](const auto& a, const auto& b) { return a.first < b.first; };
    if (!std::is_sorted(row_entries.begin(), row_entries.end(), by_column))
      std::sort(row_entries.begin(), row_entries.end(), by_column);
    for (std::size_t i = 0; i < row_entries.size(); ++i) {
      check(i == 0 || row_entries[i].first != row_entries[i - 1].first, "indices: column ", row_entries[i].first,
            " occurs twice in row ", row, "; add the values up first (scipy: A.sum_duplicates())");
      state->push(row_entries[i].first, row_entries[i].second);
    }
  }
  state->seal();
  return Csr(std::move(state));
}

ValueType Csr::value_type() const { return state_->values.type(); }

MatrixSize Csr::State::size() const {
  return {rows, cols, nnz, bytes_of(starts) + bytes_of(columns16) + bytes_of(columns32) + values.bytes()};
}

void Csr::State::to_dense(float* out) const {
  std::fill_n(out, rows * cols, 0.0f);
  with_entries([&](const auto& columns, const auto& array) {
    for (Index row = 0; row < rows; ++row)
      for (Index i = starts[row]; i < starts[row + 1]; ++i)
        out[row * cols + columns[i]] = widened(array[i]) * values.scale(row);
  });
}

// Slices only where a permutation takes eight floats.
SkinnyKind Csr::State::skinny_kind(const Kernels& table, Index columns) const {
  if (table.lanes >= kSliceRows && has_16_bit_columns() && slices_pay(columns)) return SkinnyKind::sliced;
  return columns == 1 && column_blocks(rows, cols, nnz) > 1 ? SkinnyKind::blocks : SkinnyKind::none;
}

std::shared_ptr<const SkinnyLayout> Csr::State::lay_out_skinny(SkinnyKind kind) const {
  if (kind == SkinnyKind::sliced)
    return values.visit([&]<class Value>(const Array<Value>& array) -> std::shared_ptr<const SkinnyLayout> {
      return std::make_shared<SlicedCsr<Value>>(costs->kind(), cols, starts, columns16, array, values.scales());
    });
  return with_entries([&]<class Column, class Value>(const Array<Column>& columns,
                                                     const Array<Value>& array) -> std::shared_ptr<const SkinnyLayout> {
    return std::make_shared<ColumnBlocks<Column, Value>>(column_blocks(rows, cols, nnz), cols, starts, columns, array,
                                                         values.scales());
  });
}

void Csr::State::multiply_skinny(const SkinnyJob& job) const {
  with_entries([&]<class Column, class Value>(const Array<Column>& columns, const Array<Value>& array) {
    job.kernels->csr_gemv(CsrGemvArgs<Column, Value>{.row_starts = starts.data() + job.row_begin,
                                                     .columns = columns.data(),
                                                     .values = array.data(),
                                                     .from_afar = from_afar,
                                                     .skinny = skinny_args(job, values.scales())});
  });
}

Index Csr::State::row_at_share(Index share, Index shares) const { return start_at_share(starts, share, shares); }

std::shared_ptr<const Tiles> Csr::State::lay_out(const TileShape& shape) const {
  const auto with_values = [&](const auto& floats) {
    return has_16_bit_columns() ? std::make_shared<RowTiles>(shape, rows, cols, starts, columns16, floats)
                                : std::make_shared<RowTiles>(shape, rows, cols, starts, columns32, floats);
  };
  return values.visit([&]<class Value>(const Array<Value>& array) {
    if constexpr (std::is_same_v<Value, float>) return with_values(array);
    return with_values(values.widened_all(starts));
  });
}

std::span<const std::int64_t> Csr::row_starts() const { return state_->starts; }

std::vector<float> Csr::values() const { return state_->values.widened_all(state_->starts); }

std::vector<std::int64_t> Csr::column_indices() const {
  if (state_->has_16_bit_columns()) return {state_->columns16.begin(), state_->columns16.begin() + nnz()};
  return {state_->columns32.begin(), state_->columns32.begin() + nnz()};
}

}  // namespace sparse_engine
