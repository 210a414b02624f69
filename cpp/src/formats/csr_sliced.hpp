// A CSR matrix laid out once more, for few columns of x: eight rows side by side, weights where windows of x meet them. See
// kernels/gemv/csr_sliced.hpp.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/aligned_array.hpp"
#include "base/float_types.hpp"
#include "base/parallel.hpp"
#include "base/tuning.hpp"
#include "base/workspace.hpp"
#include "formats/skinny.hpp"

namespace sparse_engine {

// Walks rows [8 slice, 8 slice + 8) in steps: use(moved, window, heads, next) for each. The window begins at column `window`,
// `moved` after the one before; next[row] is which stored weight the row goes on with and heads[row] its column, behind all
// windows where the row has none left. Taken are those within the window. Returns how many steps there were. Without branches
// on which rows take, for that cannot be foreseen.
template <class Use>
Index walk_slice(Index slice, Index cols, const std::vector<Index>& row_starts, const Array<std::uint16_t>& columns,
                 const Use& use) {
  constexpr std::int32_t kMostMoved = 255, kNone = 1 << 30;
  const Index rows = static_cast<Index>(row_starts.size()) - 1;
  const auto last_window = static_cast<std::int32_t>(cols - kWindow);
  Index next[kSliceRows], end[kSliceRows], steps = 0;
  std::int32_t heads[kSliceRows], window = 0;
  const auto head = [&](Index i) {  // the columns go on behind the last weight
    const std::int32_t column = columns[next[i]];
    return next[i] < end[i] ? column : kNone;
  };
  for (Index i = 0; i < kSliceRows; ++i) {
    const Index row = std::min(slice * kSliceRows + i, rows);  // past the last one rows are empty
    next[i] = row_starts[row];
    end[i] = row_starts[std::min(row + 1, rows)];
    heads[i] = head(i);
  }
  for (;; ++steps) {
    std::int32_t behind = kNone;
    for (Index i = 0; i < kSliceRows; ++i) behind = std::min(behind, heads[i]);
    if (behind == kNone) return steps;
    const std::int32_t moved = std::min(std::min(behind, last_window) - window, kMostMoved);
    window += moved;
    use(moved, window, heads, next);
    for (Index i = 0; i < kSliceRows; ++i) {
      next[i] += heads[i] < window + kWindow;
      heads[i] = head(i);
    }
  }
}

// What becomes of a row without a weight in a step: a stored zero, or a bit of a mask.
enum class SlicePadding { padded, packed };

// What decides whether slices are faster than weights one by one, by the steps that some slices need.
class SlicedCsrCosts {
 public:
  SlicedCsrCosts(Index cols, const std::vector<Index>& row_starts, const Array<std::uint16_t>& columns, Index value_bytes)
      : cols_(cols), rows_(static_cast<Index>(row_starts.size()) - 1), value_bytes_(static_cast<double>(value_bytes)) {
    constexpr Index kSampled = 64;
    const Index slices = (rows_ + kSliceRows - 1) / kSliceRows, apart = std::max<Index>(1, slices / kSampled);
    if (!possible()) return;
    for (Index slice = 0; slice < slices; slice += apart) {
      const Index first = slice * kSliceRows, last = std::min(rows_, first + kSliceRows);
      steps_ += static_cast<double>(
          walk_slice(slice, cols, row_starts, columns, [](std::int32_t, std::int32_t, const std::int32_t*, const Index*) {}));
      weights_ += static_cast<double>(row_starts[last] - row_starts[first]);
      seen_ += static_cast<double>(last - first);
    }
  }

  // The faster kind for one column, which is the one for more: there the arithmetic counts less.
  SlicePadding kind() const { return packed(1) < padded(1) ? SlicePadding::packed : SlicePadding::padded; }

  bool pay(Index columns) const {
    return possible() && (kind() == SlicePadding::packed ? packed(columns) : padded(columns)) < one_by_one(columns);
  }

 private:
  bool possible() const { return cols_ >= kWindow && rows_ >= kSliceRows; }
  bool is_float() const { return value_bytes_ == sizeof(float); }

  double padded(Index columns) const {
    return cost((kCosts.step + more_columns(columns)) * steps_, (4 + kSliceRows * value_bytes_) * steps_);
  }
  double packed(Index columns) const {
    const double step = is_float() ? kCosts.packed_step : kCosts.packed_step16;
    return cost((step + more_columns(columns)) * steps_, 5 * steps_ + value_bytes_ * weights_);
  }
  double one_by_one(Index columns) const {
    const double missed = std::max(0.0, 1 - kCosts.cached_columns / static_cast<double>(cols_));
    const double row = columns == 1 ? kCosts.row : kCosts.row_of_more;
    const double weight = columns > 1  ? kCosts.cached_weight + kCosts.missed_weight * missed
                          : is_float() ? kCosts.weight
                                       : kCosts.weight16;
    return cost(weight * weights_, (2 + value_bytes_) * weights_) + row * seen_;
  }
  static double more_columns(Index columns) { return kCosts.more_column * static_cast<double>(columns - 1); }
  double cost(double arithmetic, double bytes) const {
    // Not the cache of this machine: slices sum in another order than weights one by one, so a result would depend on it.
    const bool cached = bytes <= kCosts.cached_bytes * seen_ / static_cast<double>(rows_);
    return std::max(arithmetic, cached ? 0.0 : bytes * kCosts.byte_from_memory);
  }

  static constexpr SlicedCsrTuning kCosts = Tuning::sliced_csr;
  Index cols_, rows_;
  double value_bytes_, steps_ = 0, weights_ = 0, seen_ = 0;
};

template <class Value>
class SlicedCsr final : public SkinnyLayout {
 public:
  // Keeps references to the arrays: they belong to the same matrix.
  SlicedCsr(SlicePadding padding, Index cols, const std::vector<Index>& row_starts, const Array<std::uint16_t>& columns,
            const Array<Value>& array, const float* scales)
      : row_starts_(row_starts), columns_(columns), plain_(array), scales_(scales) {
    const Index rows = static_cast<Index>(row_starts.size()) - 1, slices = (rows + kSliceRows - 1) / kSliceRows;
    const bool packed = padding == SlicePadding::packed;
    const int threads = threads_for(row_starts.back() * kWalkingCosts);
    // Counted first: memory that grows is handed out several times over.
    slice_starts_.resize(slices + 1);
    parallel::parallel_for(slices, threads, [&](Index slice, int) {
      slice_starts_[slice + 1] =
          walk_slice(slice, cols, row_starts, columns, [](std::int32_t, std::int32_t, const std::int32_t*, const Index*) {});
    });
    std::partial_sum(slice_starts_.begin(), slice_starts_.end(), slice_starts_.begin());
    value_starts_.resize(slices + 1);
    for (Index slice = 0; slice <= slices; ++slice)
      value_starts_[slice] = packed ? row_starts[std::min(slice * kSliceRows, rows)] : slice_starts_[slice] * kSliceRows;
    steps_.resize(slice_starts_.back());
    if (packed) stored_.resize(slice_starts_.back());
    values_.resize(value_starts_.back() + (packed ? kSlackElements : 0));
    parallel::parallel_for(slices, threads, [&](Index slice, int) {
      packed ? fill<SlicePadding::packed>(slice, cols) : fill<SlicePadding::padded>(slice, cols);
    });
  }

  void multiply(const SkinnyJob& job) const override {
    job.kernels->sliced_csr(
        SlicedCsrArgs<Value>{.slice_starts = slice_starts_.data(),
                             .steps = steps_.data(),
                             .stored = stored_.empty() ? nullptr : stored_.data(),
                             .value_starts = value_starts_.data(),
                             .values = values_.data(),
                             .first_row = job.row_begin,
                             .x_stride = job.x_stride,
                             .plain = {row_starts_.data(), columns_.data(), plain_.data(), false, skinny_args(job, scales_)}});
  }

  Index bytes() const override {
    return bytes_of(slice_starts_) + bytes_of(value_starts_) + bytes_of(steps_) + bytes_of(stored_) + bytes_of(values_);
  }

 private:
  static constexpr Index kWalkingCosts = 16;  // a weight, in multiplications and additions

  template <SlicePadding kind>
  void fill(Index slice, Index cols) {
    std::uint32_t* steps = steps_.data() + slice_starts_[slice];
    std::uint8_t* stored = stored_.data() + (kind == SlicePadding::packed ? slice_starts_[slice] : 0);
    Value* values = values_.data() + value_starts_[slice];
    const Value* const end = values_.data() + value_starts_[slice + 1];  // behind which another thread may be writing
    walk_slice(slice, cols, row_starts_, columns_,
               [&](std::int32_t moved, std::int32_t window, const std::int32_t* heads, const Index* next) {
                 std::uint32_t step = static_cast<std::uint32_t>(moved) << 24, taken = 0;
                 Value eight[kSliceRows]{};
                 Index count = 0;
                 for (Index i = 0; i < kSliceRows; ++i) {
                   const std::int32_t lane = heads[i] - window;
                   const bool takes = lane < kWindow;
                   step |= takes ? static_cast<std::uint32_t>(lane) << 3 * i : 0u;
                   const Value value = plain_[next[i]];  // the values, too, go on behind the last weight
                   eight[count] = takes ? value : Value{};
                   count += kind == SlicePadding::padded || takes;
                   taken |= std::uint32_t{takes} << i;
                 }
                 std::copy_n(eight, end - values >= kSliceRows ? kSliceRows : count, values);
                 values += count;
                 *steps++ = step;
                 if constexpr (kind == SlicePadding::packed) *stored++ = static_cast<std::uint8_t>(taken);
               });
  }

  const std::vector<Index>& row_starts_;
  const Array<std::uint16_t>& columns_;
  const Array<Value>& plain_;
  const float* scales_;  // of the matrix, or null
  std::vector<Index> slice_starts_, value_starts_;
  Array<std::uint32_t> steps_;
  Array<std::uint8_t> stored_;
  Array<Value> values_;
};

}  // namespace sparse_engine
