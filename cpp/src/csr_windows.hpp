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

// Whether the layout is expected to be faster than gathering, by the steps that some slices need. Nanoseconds on Zen 3.
inline bool windows_are_worth_it(Index cols, const std::vector<Index>& row_starts, const Array<std::uint16_t>& columns,
                                 Index value_bytes) {
  constexpr double kStep = 0.9, kGathered = 0.27, kRow = 4, kByteBeyondCache = 0.075;
  constexpr double kInCache = 16 << 20;
  constexpr Index kSampled = 64;
  const Index rows = static_cast<Index>(row_starts.size()) - 1, slices = (rows + kSliceRows - 1) / kSliceRows;
  if (cols < kWindow || rows < kSliceRows) return false;
  const Index apart = std::max<Index>(1, slices / kSampled);
  double steps = 0, weights = 0, seen = 0;
  for (Index slice = 0; slice < slices; slice += apart) {
    const Index first = slice * kSliceRows, last = std::min(rows, first + kSliceRows);
    steps += static_cast<double>(walk_slice(slice, cols, row_starts, columns, [](Index, Index, const Index*) {}));
    weights += static_cast<double>(row_starts[last] - row_starts[first]);
    seen += static_cast<double>(last - first);
  }
  const double part = seen / static_cast<double>(rows);
  const auto cost = [&](double each, double count, double bytes) {
    return count * std::max(each, bytes * count > kInCache * part ? bytes * kByteBeyondCache : 0.0);
  };
  const auto wide = static_cast<double>(value_bytes);
  return cost(kStep, steps, 4 + kSliceRows * wide) < cost(kGathered, weights, 2 + wide) + kRow * seen;
}

template <class Value>
class CsrWindows final : public OneColumnLayout {
 public:
  // Keeps references to the arrays: they belong to the same matrix.
  CsrWindows(Index cols, const std::vector<Index>& row_starts, const Array<std::uint16_t>& columns, const Array<Value>& array)
      : row_starts_(row_starts), columns_(columns), plain_(array) {
    const Index rows = static_cast<Index>(row_starts.size()) - 1, slices = (rows + kSliceRows - 1) / kSliceRows;
    slice_starts_.reserve(slices + 1);
    slice_starts_.push_back(0);
    for (Index slice = 0; slice < slices; ++slice) {
      walk_slice(slice, cols, row_starts, columns, [&](Index moved, Index window, const Index* place) {
        std::uint32_t step = static_cast<std::uint32_t>(moved) << 24;
        for (Index i = 0; i < kSliceRows; ++i) {
          if (place[i] >= 0) step |= static_cast<std::uint32_t>(columns[place[i]] - window) << 3 * i;
          values_.push_back(place[i] >= 0 ? array[place[i]] : Value{});
        }
        steps_.push_back(step);
      });
      slice_starts_.push_back(static_cast<Index>(steps_.size()));
    }
    steps_.shrink_to_fit();
    values_.shrink_to_fit();
  }

  void multiply(const NarrowJob& job) const override {
    run(*job.kernels, CsrWindowsArgs<Value>{.slice_starts = slice_starts_.data(),
                                            .steps = steps_.data(),
                                            .values = values_.data(),
                                            .first_row = job.row_begin,
                                            .plain = {row_starts_.data(), columns_.data(), plain_.data(), narrow_args(job)}});
  }

  Index bytes() const override { return bytes_of(slice_starts_) + bytes_of(steps_) + bytes_of(values_); }

 private:
  const std::vector<Index>& row_starts_;
  const Array<std::uint16_t>& columns_;
  const Array<Value>& plain_;
  std::vector<Index> slice_starts_;
  Array<std::uint32_t> steps_;
  Array<Value> values_;
};

}  // namespace sparse_engine
