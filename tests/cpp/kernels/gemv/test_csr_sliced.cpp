// Eight rows of CSR side by side in steps: windows laid out here step by step, as the header of the kernel's arguments says.
#include <algorithm>

#include "kernels/gemv/few_columns.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// A window moves by `most` at a time, up to the row that is furthest behind, and never past the last eight columns.
template <class Value>
struct LaidOut {
  LaidOut(const Weights& w, bool packed, Index most) : rows(w), plain(rows.values) {
    const Parts parts = parts_of(w);
    row_starts = parts.indptr;
    columns.assign(parts.indices.begin(), parts.indices.end());
    slice_starts = value_starts = {0};
    for (Index slice = 0; slice * kSliceRows < w.rows; ++slice) {
      std::vector<Index> next, end;
      for (Index i = 0; i < kSliceRows; ++i) {
        const Index row = std::min(slice * kSliceRows + i, w.rows);
        next.push_back(row_starts[row]);
        end.push_back(row_starts[std::min(row + 1, w.rows)]);
      }
      for (Index window = 0;;) {
        Index behind = w.cols;
        for (Index i = 0; i < kSliceRows; ++i)
          if (next[i] < end[i]) behind = std::min<Index>(behind, columns[next[i]]);
        if (behind == w.cols) break;
        const Index moved = std::min(std::min(behind, w.cols - kWindow) - window, most);
        window += moved;
        std::uint32_t step = static_cast<std::uint32_t>(moved) << 24;
        std::uint8_t mask = 0;
        for (Index i = 0; i < kSliceRows; ++i) {
          const bool takes = next[i] < end[i] && columns[next[i]] < window + kWindow;
          if (takes) {
            step |= static_cast<std::uint32_t>(columns[next[i]] - window) << 3 * i;
            mask = static_cast<std::uint8_t>(mask | 1u << i);
          }
          if (takes || !packed) values.push_back(takes ? plain[next[i]] : Value{});
          next[i] += takes;
        }
        steps.push_back(step);
        if (packed) stored.push_back(mask);
      }
      slice_starts.push_back(static_cast<Index>(steps.size()));
      value_starts.push_back(static_cast<Index>(values.size()));
    }
    if (packed) values = with_slack(values);
    columns = with_slack(columns);
    plain = with_slack(plain);
  }

  StoredRows<Value> rows;
  std::vector<std::int64_t> row_starts, slice_starts, value_starts;
  std::vector<std::uint16_t> columns;
  std::vector<Value> plain, values;
  std::vector<std::uint32_t> steps;
  std::vector<std::uint8_t> stored;
};

template <class Value>
void expect_windows(const Weights& w, Index first, Index last, bool packed, Index most, const FewColumns& c) {
  SCOPED_TRACE(packed ? "packed" : "padded");
  const LaidOut<Value> l(w, packed, most);
  Guarded<std::uint32_t> steps(l.steps, Flush::end);
  Guarded<std::uint8_t> stored(l.stored, Flush::end);
  Guarded<Value> values(l.values, Flush::end), plain(l.plain, Flush::end);
  Guarded<std::uint16_t> columns(l.columns, Flush::end);
  expect_rows(w, first, last, c, [&](const SkinnyArgs& skinny, Index x_stride) {
    kernels().sliced_csr(SlicedCsrArgs<Value>{
        .slice_starts = l.slice_starts.data(),
        .steps = steps.data(),
        .stored = packed ? stored.data() : nullptr,
        .value_starts = l.value_starts.data(),
        .values = values.data(),
        .first_row = first,
        .x_stride = x_stride,
        .plain = {l.row_starts.data(), columns.data(), plain.data(), false, l.rows.scaled(skinny, first)}});
  });
}

TEST(SlicedCsrKernel, MultipliesPaddedAndPackedSlicesOfEveryLength) {
  for_each_type(CsrValues{}, []<class Value>() {
    for (const auto& [rows, cols] : {std::pair<Index, Index>{30, 41}, {8, 8}, {5, 9}, {9, 100}, {0, 8}})
      for_few_columns(XLayout::columns, [&](const FewColumns& c) {
        const Weights w = kept_as<Value>(staircase(rows, cols, c.kind == XKind::integers, 31));
        for (const bool packed : {false, true}) expect_windows<Value>(w, 0, rows, packed, 255, c);
      });
  });
}

TEST(SlicedCsrKernel, BeginsAndEndsInsideSlices) {
  for_each_type(CsrValues{}, []<class Value>() {
    for_few_columns(XLayout::columns, [&](const FewColumns& c) {
      const Weights w = kept_as<Value>(staircase(29, 40, c.kind == XKind::integers, 32));
      for (const auto& [first, last] : {std::pair<Index, Index>{3, 7}, {3, 21}, {8, 29}, {16, 24}})
        for (const bool packed : {false, true}) expect_windows<Value>(w, first, last, packed, 255, c);
    });
  });
}

// A move is a byte: what lies further takes steps in which no row has a weight.
TEST(SlicedCsrKernel, MovesOverGapsInManySteps) {
  for_each_type(CsrValues{}, []<class Value>() {
    Weights w{8, 1200, std::vector<float>(8 * 1200)};
    for (Index row = 0; row < 8; ++row)
      w.values[row * 1200 + row] = w.values[row * 1200 + 1199 - row] = static_cast<float>(row + 1);
    for_each_isa([&] {
      for (const Index columns : {1, 2, 5, 8})
        for (const Index most : {255, 100})
          for (const bool packed : {false, true})
            expect_windows<Value>(w, 0, 8, packed, most,
                                  {columns, XLayout::columns, XKind::integers, Flush::end, true, false, Activation::none});
    });
  });
}

}  // namespace
}  // namespace sparse_engine
