// Rows of CSR times one to eight columns: every type of index and of value, as rows and as blocks of columns.
#include "kernels/gemv/few_columns.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// Both arrays end, after their slack, where a page begins that cannot be read.
template <class Column, class Value>
struct Arrays {
  explicit Arrays(const Weights& w)
      : stored(w),
        starts(parts_of(w).indptr),
        columns(with_slack(columns_of(w)), Flush::end),
        values(with_slack(stored.values), Flush::end) {}

  static std::vector<Column> columns_of(const Weights& w) {
    const Parts parts = parts_of(w);
    return {parts.indices.begin(), parts.indices.end()};
  }

  StoredRows<Value> stored;
  std::vector<std::int64_t> starts;
  Guarded<Column> columns;
  Guarded<Value> values;
};

TEST(CsrGemv, MultipliesRowsOfEveryLength) {
  for_each_type(CsrTypes{}, []<class Column, class Value>() {
    for (const auto& [rows, cols] : {std::pair<Index, Index>{43, 50}, {7, 5}, {3, 1}, {2, 0}, {0, 4}})
      for_few_columns(XLayout::rows, [&](const FewColumns& c) {
        const Weights w = kept_as<Value>(staircase(rows, cols, c.kind == XKind::integers, 21));
        Arrays<Column, Value> a(w);
        for (const bool from_afar : {false, true})
          expect_rows(w, 0, rows, c, [&](const SkinnyArgs& skinny, Index) {
            kernels().csr_gemv(CsrGemvArgs<Column, Value>{a.starts.data(), a.columns.data(), a.values.data(), from_afar,
                                                          a.stored.scaled(skinny, 0)});
          });
      });
  });
}

TEST(CsrGemv, BeginsAtTheRowItIsGiven) {
  for_each_type(CsrTypes{}, []<class Column, class Value>() {
    for_few_columns(XLayout::rows, [&](const FewColumns& c) {
      const Weights w = kept_as<Value>(staircase(23, 31, c.kind == XKind::integers, 22));
      Arrays<Column, Value> a(w);
      expect_rows(w, 9, 20, c, [&](const SkinnyArgs& skinny, Index) {
        kernels().csr_gemv(CsrGemvArgs<Column, Value>{a.starts.data() + 9, a.columns.data(), a.values.data(), false,
                                                      a.stored.scaled(skinny, 9)});
      });
    });
  });
}

TEST(CsrGemv, ReachesTheLastColumnThatAnIndexCanName) {
  for_each_type(CsrTypes{}, []<class Column, class Value>() {
    const Index cols = sizeof(Column) == 2 ? 65536 : 70001;
    Weights w{3, cols, std::vector<float>(3 * cols)};
    for (const Index col : {Index{0}, Index{1}, Index{32768}, cols - 2, cols - 1}) w.values[2 * cols + col] = 2;
    w.values[cols - 1] = 3;
    Arrays<Column, Value> a(w);
    for_each_isa([&] {
      for (const Index columns : {1, 3})
        expect_rows(w, 0, 3, {columns, XLayout::rows, XKind::integers, Flush::end, false, true, Activation::none},
                    [&](const SkinnyArgs& skinny, Index) {
                      kernels().csr_gemv(CsrGemvArgs<Column, Value>{a.starts.data(), a.columns.data(), a.values.data(), true,
                                                                    a.stored.scaled(skinny, 0)});
                    });
    });
  });
}

// The matrix once more in blocks of `width` columns; chunks are filled up with empty rows.
template <class Column, class Value>
struct InBlocks {
  InBlocks(const Weights& w, Index width) : stored(w), blocks(std::max<Index>(1, (w.cols + width - 1) / width)) {
    const Index chunks = (w.rows + kCsrChunkRows - 1) / kCsrChunkRows;
    for (Index chunk = 0; chunk < chunks; ++chunk)
      for (Index block = 0; block < blocks; ++block)
        for (Index row = chunk * kCsrChunkRows; row < (chunk + 1) * kCsrChunkRows; ++row) {
          starts.push_back(static_cast<std::int64_t>(columns.size()));
          for (Index col = block * width; row < w.rows && col < std::min(w.cols, (block + 1) * width); ++col) {
            if (w.values[row * w.cols + col] == 0) continue;
            columns.push_back(static_cast<Column>(col));
            values.push_back(stored_as<Value>(w.values[row * w.cols + col], stored.scales[row]));
          }
        }
    starts.push_back(static_cast<std::int64_t>(columns.size()));
  }
  StoredRows<Value> stored;
  Index blocks;
  std::vector<std::int64_t> starts;
  std::vector<Column> columns;
  std::vector<Value> values;
};

TEST(CsrBlocks, AddUpBlockByBlockWhateverRowTheyBeginAt) {
  for_each_type(CsrTypes{}, []<class Column, class Value>() {
    const Weights whole = kept_as<Value>(integer_weights(300, 41, 0.4, 23));
    const Weights real = kept_as<Value>(real_weights(300, 41, 0.4, 24));
    for (const Index width : {41, 16, 7})
      for_each_isa([&] {
        for (const XKind kind : {XKind::integers, XKind::reals, XKind::some_not_finite}) {
          const Weights& w = kind == XKind::integers ? whole : real;
          const InBlocks<Column, Value> b(w, width);
          Guarded<Column> columns(with_slack(b.columns), Flush::end);
          Guarded<Value> values(with_slack(b.values), Flush::end);
          for (const auto& [first, last] : {std::pair<Index, Index>{0, 300}, {0, 1}, {5, 128}, {127, 257}, {256, 300}, {9, 9}})
            for (const bool by_columns : {false, true})
              expect_rows(w, first, last, {1, XLayout::rows, kind, Flush::end, by_columns, by_columns, Activation::none},
                          [&, begin = first](const SkinnyArgs& skinny, Index) {
                            kernels().csr_blocks(CsrBlocksArgs<Column, Value>{b.starts.data(), columns.data(), values.data(),
                                                                              b.blocks, begin, b.stored.scaled(skinny, begin)});
                          });
        }
      });
  });
}

}  // namespace
}  // namespace sparse_engine
