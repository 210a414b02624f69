// A CSR matrix laid out once more, for one column of x: eight rows side by side, weights where windows of x meet them. See
// kernels/csr_windows.hpp.
#pragma once

#include <algorithm>
#include <vector>

#include "narrow.hpp"
#include "storage.hpp"
#include "values.hpp"

namespace sparse_engine {

// Walks rows [8 slice, 8 slice + 8) in steps: use(moved, window, place) for each. The window begins at column `window`, `moved`
// after the one before, and place[row] is which stored weight the row takes, or -1. Returns how many steps there were.
template <class Use>
Index walk_slice(Index slice, Index cols, const std::vector<Index>& row_starts, const Array<std::uint16_t>& columns,
                 const Use& use) {
  constexpr Index kMostMoved = 255;
  const Index rows = static_cast<Index>(row_starts.size()) - 1;
  Index next[kSliceRows], end[kSliceRows], place[kSliceRows], window = 0, steps = 0;
  for (Index i = 0; i < kSliceRows; ++i) {
    const Index row = std::min(slice * kSliceRows + i, rows);  // past the last one rows are empty
    next[i] = row_starts[row];
    end[i] = row_starts[std::min(row + 1, rows)];
  }
  for (;; ++steps) {
    Index behind = cols;
    for (Index i = 0; i < kSliceRows; ++i)
      if (next[i] < end[i]) behind = std::min(behind, Index{columns[next[i]]});
    if (behind == cols) return steps;
    const Index moved = std::min(std::min(behind, cols - kWindow) - window, kMostMoved);
    window += moved;
    for (Index i = 0; i < kSliceRows; ++i) place[i] = next[i] < end[i] && columns[next[i]] < window + kWindow ? next[i]++ : -1;
    use(moved, window, place);
  }
}

inline void run(const Kernels& k, const CsrWindowsArgs<float>& a) { k.csr_windows_float32(a); }
inline void run(const Kernels& k, const CsrWindowsArgs<BFloat16>& a) { k.csr_windows_bfloat16(a); }
inline void run(const Kernels& k, const CsrWindowsArgs<Float16>& a) { k.csr_windows_float16(a); }

// What becomes of a row without a weight in a step: a stored zero, or a bit of a mask.
enum class Windows { none, padded, packed };

// The layout that is expected to be the fastest, by the steps that some slices need; none: gathering is. Nanoseconds on Zen 3.
inline Windows windows_worth_it(Index cols, const std::vector<Index>& row_starts, const Array<std::uint16_t>& columns,
                                Index value_bytes) {
  constexpr double kPadded = 0.9, kRow = 4, kByteBeyondCache = 0.075;
  constexpr double kInCache = 8 << 20;
  constexpr Index kSampled = 64;
  const bool is_float = value_bytes == sizeof(float);
  const double packed_step = is_float ? 1.45 : 1.15, gathered_weight = is_float ? 0.27 : 0.3;
  const Index rows = static_cast<Index>(row_starts.size()) - 1, slices = (rows + kSliceRows - 1) / kSliceRows;
  if (cols < kWindow || rows < kSliceRows) return Windows::none;
  const Index apart = std::max<Index>(1, slices / kSampled);
  double steps = 0, weights = 0, seen = 0;
  for (Index slice = 0; slice < slices; slice += apart) {
    const Index first = slice * kSliceRows, last = std::min(rows, first + kSliceRows);
    steps += static_cast<double>(walk_slice(slice, cols, row_starts, columns, [](Index, Index, const Index*) {}));
    weights += static_cast<double>(row_starts[last] - row_starts[first]);
    seen += static_cast<double>(last - first);
  }
  const double part = seen / static_cast<double>(rows);
  const auto cost = [&](double arithmetic, double bytes) {
    return std::max(arithmetic, bytes > kInCache * part ? bytes * kByteBeyondCache : 0.0);
  };
  const auto wide = static_cast<double>(value_bytes);
  const double padded = cost(kPadded * steps, (4 + kSliceRows * wide) * steps);
  const double packed = cost(packed_step * steps, 5 * steps + wide * weights);
  const double gathered = cost(gathered_weight * weights, (2 + wide) * weights) + kRow * seen;
  if (gathered <= std::min(padded, packed)) return Windows::none;
  return packed < padded ? Windows::packed : Windows::padded;
}

template <class Value>
class CsrWindows final : public OneColumnLayout {
 public:
  // Keeps references to the arrays: they belong to the same matrix.
  CsrWindows(Windows windows, Index cols, const std::vector<Index>& row_starts, const Array<std::uint16_t>& columns,
             const Array<Value>& array)
      : row_starts_(row_starts), columns_(columns), plain_(array) {
    const Index rows = static_cast<Index>(row_starts.size()) - 1, slices = (rows + kSliceRows - 1) / kSliceRows;
    const bool packed = windows == Windows::packed;
    const auto end_slice = [&] {
      slice_starts_.push_back(static_cast<Index>(steps_.size()));
      value_starts_.push_back(static_cast<Index>(values_.size()));
    };
    end_slice();
    for (Index slice = 0; slice < slices; ++slice) {
      walk_slice(slice, cols, row_starts, columns, [&](Index moved, Index window, const Index* place) {
        std::uint32_t step = static_cast<std::uint32_t>(moved) << 24, stored = 0;
        for (Index i = 0; i < kSliceRows; ++i) {
          const bool is_stored = place[i] >= 0;
          if (is_stored) step |= static_cast<std::uint32_t>(columns[place[i]] - window) << 3 * i;
          stored |= std::uint32_t{is_stored} << i;
          if (is_stored || !packed) values_.push_back(is_stored ? array[place[i]] : Value{});
        }
        steps_.push_back(step);
        if (packed) stored_.push_back(static_cast<std::uint8_t>(stored));
      });
      end_slice();
    }
    if (packed) values_.resize(values_.size() + kSlackElements);
    steps_.shrink_to_fit();
    stored_.shrink_to_fit();
    values_.shrink_to_fit();
  }

  void multiply(const NarrowJob& job) const override {
    run(*job.kernels, CsrWindowsArgs<Value>{.slice_starts = slice_starts_.data(),
                                            .steps = steps_.data(),
                                            .stored = stored_.empty() ? nullptr : stored_.data(),
                                            .value_starts = value_starts_.data(),
                                            .values = values_.data(),
                                            .first_row = job.row_begin,
                                            .plain = {row_starts_.data(), columns_.data(), plain_.data(), narrow_args(job)}});
  }

  Index bytes() const override {
    return bytes_of(slice_starts_) + bytes_of(value_starts_) + bytes_of(steps_) + bytes_of(stored_) + bytes_of(values_);
  }

 private:
  const std::vector<Index>& row_starts_;
  const Array<std::uint16_t>& columns_;
  const Array<Value>& plain_;
  std::vector<Index> slice_starts_, value_starts_;
  Array<std::uint32_t> steps_;
  Array<std::uint8_t> stored_;
  Array<Value> values_;
};

}  // namespace sparse_engine
