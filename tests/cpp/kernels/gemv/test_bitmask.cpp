// Rows of a bitmask times one to eight columns, for every type of value.
#include <algorithm>

#include "kernels/gemv/few_columns.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

template <class Value>
struct Arrays {
  explicit Arrays(const Weights& w) : stored(w), values(with_slack(stored.values)) {
    const Index words = (w.cols + 63) / 64;
    masks.resize(w.rows * words);
    starts = {0};
    std::int64_t count = 0;
    for (Index row = 0; row < w.rows; ++row) {
      for (Index col = 0; col < w.cols; ++col) {
        const float v = w.values[row * w.cols + col];
        if (v == 0) continue;
        masks[row * words + col / 64] |= std::uint64_t{1} << col % 64;
        ++count;
      }
      starts.push_back(count);
    }
  }
  StoredRows<Value> stored;
  std::vector<std::int64_t> starts;
  std::vector<std::uint64_t> masks;
  std::vector<Value> values;
};

template <class Value>
void expect_rows_of(const Weights& w, Index first, Index last, const FewColumns& c) {
  Arrays<Value> a(w);
  Guarded<Value> values(a.values, Flush::end);
  Guarded<std::uint64_t> masks(a.masks, c.side);
  const Index words = (w.cols + 63) / 64;
  expect_rows(w, first, last, c, [&](const SkinnyArgs& skinny, Index) {
    kernels().bitmask_gemv(BitmaskArgs<Value>{a.starts.data() + first, masks.data() + first * words, values.data(), w.cols,
                                              a.stored.scaled(skinny, first)});
  });
}

template <class Value>
void expect_products() {
  for (const auto& [rows, cols] :
       {std::pair<Index, Index>{19, 63}, {2, 64}, {67, 65}, {1, 1}, {3, 0}, {0, 5}, {7, 513}, {5, 1100}})
    for_few_columns(XLayout::rows, [&](const FewColumns& c) {
      const bool whole = c.kind == XKind::integers;
      const double density = cols > 100 ? 0.6 : 0;
      Weights w = density > 0 ? (whole ? integer_weights(rows, cols, density, 61) : real_weights(rows, cols, density, 61))
                              : staircase(rows, cols, whole, 61);
      expect_rows_of<Value>(kept_as<Value>(std::move(w)), 0, rows, c);
    });
}

TEST(BitmaskGemv, MultipliesRowsOfEveryLengthForEveryTypeOfValue) {
  for_each_type(BitmaskValues{}, []<class Value>() { expect_products<Value>(); });
}

TEST(BitmaskGemv, BeginsAtTheRowItIsGiven) {
  for_few_columns(XLayout::rows, [&](const FewColumns& c) {
    const Weights w = staircase(40, 70, c.kind == XKind::integers, 64);
    expect_rows_of<float>(w, 7, 30, c);
    expect_rows_of<std::int8_t>(kept_as<std::int8_t>(w), 7, 30, c);
  });
}

// 127 · 3e38 is beyond float32, 127 · 3e38 · 2⁻¹⁰ is not.
TEST(BitmaskGemv, TakesInt8SumsThatOnlyTheirScaleBringsBackIntoRange) {
  for_each_isa([] {
    for (const Index columns : {1, 2, 8}) {
      constexpr Index kCols = 70;
      Weights w{2, kCols, std::vector<float>(2 * kCols)};
      w.values[3] = w.values[kCols - 1] = 127;
      w.values[kCols + 5] = 1;
      Arrays<std::int8_t> a(w);
      const float scales[] = {0x1p-10f, 1};
      std::vector<float> x(kCols * (columns == 1 ? 1 : 8)), y(2 * columns, kNaN);
      for (Index col = 0; col < kCols; ++col)
        for (Index i = 0; i < columns; ++i) x[col * (columns == 1 ? 1 : 8) + i] = i % 2 == 0 ? 3e38f : 1;
      kernels().bitmask_gemv(BitmaskArgs<std::int8_t>{a.starts.data(),
                                                      a.masks.data(),
                                                      a.values.data(),
                                                      kCols,
                                                      {.rows = 2,
                                                       .columns = columns,
                                                       .x = x.data(),
                                                       .bias = nullptr,
                                                       .residual = nullptr,
                                                       .y = y.data(),
                                                       .y_row_stride = columns,
                                                       .y_column_stride = 1,
                                                       .activation = Activation::none,
                                                       .scales = scales}});
      for (Index i = 0; i < columns; ++i) {
        const double input = i % 2 == 0 ? double{3e38f} : 1;
        EXPECT_NEAR(y[i] / (254 * 0x1p-10 * input), 1, 1e-6) << "column " << i << " of " << columns;
        EXPECT_EQ(y[columns + i], static_cast<float>(input));
      }
    }
  });
}

}  // namespace
}  // namespace sparse_engine
