#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/registry.hpp"
#include "formats/csr_sliced.hpp"
#include "guarded.hpp"
#include "reference.hpp"
#include "reference_one_column.hpp"
#include "sparse_engine/csr.hpp"
#include "sparse_engine/runtime.hpp"
#include "value_types.hpp"

// One column, eight rows at a time, their next weights where windows of x meet them. Instruction sets without a permutation of
// eight floats gather, and have to agree.
namespace sparse_engine {
namespace {

using namespace reference;

bool has_windows(const Csr& csr, Index columns = 1) {
  static_cast<void>(multiplied(csr, reals(csr.cols() * columns, 2), columns));
  return csr.layout_bytes() > 0;
}

bool is_wide() { return isa() == "avx2" || isa() == "avx512"; }

TEST(SlicedCsr, AreLaidOutWhereTheyPay) {
  const Csr dense_rows = real_weights(64, 600, 0.3, 1).csr();
  EXPECT_FALSE(has_windows(dense_rows, 8)) << "a permutation for each of eight columns";
  EXPECT_EQ(has_windows(dense_rows, 2), is_wide());
  const Index bytes = dense_rows.layout_bytes();
  static_cast<void>(multiplied(dense_rows, reals(600, 2), 1));
  EXPECT_EQ(dense_rows.layout_bytes(), bytes) << "laid out already";
  EXPECT_EQ(has_windows(real_weights(64, 600, 0.1, 1).csr()), is_wide());
  EXPECT_FALSE(has_windows(real_weights(64, 2048, 0.02, 1).csr())) << "more steps than gathering is worth";
  EXPECT_FALSE(has_windows(real_weights(7, 600, 0.3, 1).csr())) << "less than a slice";
  EXPECT_FALSE(has_windows(real_weights(64, 7, 1, 1).csr())) << "less than a window";
}

TEST(SlicedCsr, LieWithinTheBoundForEveryTypeOfValueAndShape) {
  for (const ValueType type : value_types(CsrValues{}))
    for (const Index rows : {8, 9, 15, 40})
      for (const Index cols : {8, 9, 16, 255, 600, 1201}) {
        SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols));
        Weights w = real_weights(rows, cols, 0.35, rows * cols);
        for (Index col = 0; col < cols; ++col) w.values[2 * cols + col] = 0;  // an empty row
        if (cols > 1000)
          for (Index row = 0; row < rows; ++row)
            for (Index col = 100; col < 900; ++col) w.values[row * cols + col] = 0;  // farther than one move of a window
        const Csr csr = Csr::from_dense(w.values.data(), w.rows, w.cols, type);
        w.values = dense(csr);
        const std::vector<float> values = reals(cols, 7), bias = reals(rows, 8);
        const Expected expected = product(w, values, 1, bias, Activation::relu), plain = product(w, values, 1);
        for (const Flush side : {Flush::beginning, Flush::end}) {
          Guarded<float> x(values, side);
          for_each_isa([&] {
            std::vector<float> y(rows, kNaN);
            multiply(csr, {x.data(), cols, 1, 1, 1}, {.bias = bias.data(), .activation = Activation::relu},
                     {y.data(), rows, 1, 1, 1});
            expect_within_bound(y, expected);
            expect_within_bound(multiplied(csr, values, 1), plain);
          });
        }
      }
}

// A column lies by itself, and y either way round.
TEST(SlicedCsr, ServeAFewColumnsOfEveryLayout) {
  constexpr Index kRows = 21, kCols = 100;
  const Weights w = real_weights(kRows, kCols, 0.4, 5);
  const Csr csr = w.csr();
  const std::vector<float> bias = reals(kRows, 8);
  for (const Index columns : {2, 3, 4, 5, 8}) {
    const std::vector<float> x = reals(kCols * columns, 6);
    const Expected expected = product(w, x, columns, bias, Activation::relu6);
    std::vector<float> batch(x.size());
    for (Index i = 0; i < kCols; ++i)
      for (Index c = 0; c < columns; ++c) batch[c * kCols + i] = x[i * columns + c];
    for_each_isa([&] {
      EXPECT_EQ(csr.impl()->skinny_kind(kernels(), columns) == SkinnyKind::sliced, is_wide() && columns < 8);
      expect_within_bound(multiplied(csr, x, columns, bias, Activation::relu6), expected);
      std::vector<float> y(kRows * columns, 1.0f), turned;
      const std::vector<float> ones = y;
      linear({batch.data(), columns, kCols, kCols, 1}, csr, {.bias = bias.data(), .residual = y.data()},
             {y.data(), columns, kRows, kRows, 1});
      for (Index row = 0; row < kRows; ++row)
        for (Index c = 0; c < columns; ++c) turned.push_back(y[c * kRows + row]);
      expect_within_bound(turned, product(w, x, columns, [&] {
                            std::vector<float> raised = bias;
                            for (float& b : raised) b += 1.0f;
                            return raised;
                          }()));
    });
  }
}

TEST(SlicedCsr, ComputeIntegersExactlyAndTheSameBitsOnAnyNumberOfThreads) {
  constexpr Index kRows = kSlow ? 45 : 1205, kCols = 600;
  expect_one_column_is_exact_on_any_number_of_threads(kRows, kCols, 0.2);
}

TEST(SlicedCsr, PassInfinityAndNaNToExactlyTheOutputsTheirWeightsTouch) {
  constexpr Index kRows = 20, kCols = 100;
  Weights w = real_weights(kRows, kCols, 0.3, 23);
  for (Index row = 0; row < kRows; ++row) w.values[row * kCols] = w.values[row * kCols + 50] = 0;  // columns nobody touches
  std::vector<float> x = reals(kCols, 24);
  x[0] = kNaN;
  x[50] = kInf;
  x[17] = -kInf;
  x[kCols - 1] = kNaN;
  const Expected expected = product(w, x, 1);
  const Csr csr = w.csr();
  for_each_isa([&] { expect_within_bound(multiplied(csr, x, 1), expected); });
}

TEST(SlicedCsr, AddInPlaceAndReachRowsThatLieApart) {
  constexpr Index kRows = 21, kCols = 64;
  const Weights w = integer_weights(kRows, kCols, 0.4, 9);
  const std::vector<float> x = integers(kCols, 10), before = integers(kRows, 11);
  const Expected expected = product(w, x, 1, before);
  const Csr csr = w.csr();
  for_each_isa([&] {
    for (const Index apart : {1, 3}) {
      std::vector<float> y(kRows * apart, 0.0f), found;
      for (Index row = 0; row < kRows; ++row) y[row * apart] = before[row];
      multiply(csr, {x.data(), kCols, 1, 1, 1}, {.residual = y.data()}, {y.data(), kRows, 1, apart, 1});
      for (Index row = 0; row < kRows; ++row) found.push_back(y[row * apart]);
      expect_exactly(found, expected);
    }
  });
}

// The arrays of a CSR matrix as its layouts take them.
template <class Value>
struct Arrays {
  std::vector<Index> row_starts{0};
  Array<std::uint16_t> columns;
  Array<Value> values;

  explicit Arrays(const Weights& w) {
    for (Index row = 0; row < w.rows; ++row) {
      for (Index col = 0; col < w.cols; ++col)
        if (const float v = w.values[row * w.cols + col]; v != 0) {
          columns.push_back(static_cast<std::uint16_t>(col));
          values.push_back(rounded<Value>(v));
        }
      row_starts.push_back(static_cast<Index>(columns.size()));
    }
    columns.resize(columns.size() + kSlackElements);
    values.resize(values.size() + kSlackElements);
  }
};

// The layout alone, whatever its costs. x: cols × columns, row-major.
template <class Value>
std::vector<float> product_of(SlicePadding kind, const Weights& w, const std::vector<float>& values, Index columns = 1,
                              Index first_row = 0) {
  const Arrays<Value> arrays(w);
  const SlicedCsr<Value> windows(kind, w.cols, arrays.row_starts, arrays.columns, arrays.values, nullptr);
  std::vector<float> by_column;
  for (Index c = 0; c < columns; ++c)
    for (Index i = 0; i < w.cols; ++i) by_column.push_back(values[i * columns + c]);
  Guarded<float> x(by_column, Flush::end);
  std::vector<float> y(w.rows * columns, kNaN);
  SkinnyJob job{};
  job.kernels = &kernels();
  job.row_begin = first_row;
  job.row_end = w.rows;
  job.columns = columns;
  job.x = x.data();
  job.x_stride = w.cols;
  job.y = y.data();
  job.y_row_stride = columns;
  job.y_column_stride = 1;
  windows.multiply(job);
  return y;
}

// Matrices that leave the caches keep no zeros beside their weights.
template <class Value>
void expect_packed_agrees_with_padded() {
  for (const Index rows : {8, 9, 23})
    for (const Index cols : {8, 9, 255, 600, 1201})
      for (const double density : {0.02, 0.1, 0.5, 1.0}) {
        SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(cols) + " at " + std::to_string(density));
        Weights w = real_weights(rows, cols, density, rows * cols);
        for (Index col = 0; col < cols; ++col) w.values[3 * cols + col] = 0;  // an empty row
        for (float& v : w.values) v = widened(rounded<Value>(v));
        for (Index columns = 1; columns <= kSkinnyColumns; ++columns) {
          const std::vector<float> x = reals(cols * columns, 7);
          const Expected expected = product(w, x, columns);
          for_each_isa([&] {
            const std::vector<float> packed = product_of<Value>(SlicePadding::packed, w, x, columns);
            expect_within_bound(packed, expected);
            expect_same_bits(packed, product_of<Value>(SlicePadding::padded, w, x, columns));
          });
        }
      }
}

TEST(SlicedCsr, PackedGiveTheSameBitsAsPaddedInFloat32) { expect_packed_agrees_with_padded<float>(); }
TEST(SlicedCsr, PackedGiveTheSameBitsAsPaddedInBFloat16) { expect_packed_agrees_with_padded<BFloat16>(); }
TEST(SlicedCsr, PackedGiveTheSameBitsAsPaddedInFloat16) { expect_packed_agrees_with_padded<Float16>(); }

TEST(SlicedCsr, PackedPassInfinityAndNaNToExactlyTheOutputsTheirWeightsTouch) {
  constexpr Index kRows = 20, kCols = 100;
  Weights w = real_weights(kRows, kCols, 0.3, 23);
  for (Index row = 0; row < kRows; ++row) w.values[row * kCols] = 0;  // a column nobody touches
  for (const Index columns : {1, 3, 8}) {
    std::vector<float> x = reals(kCols * columns, 24);
    x[columns - 1] = kNaN;
    x[17 * columns] = -kInf;
    x[kCols * columns - 1] = kNaN;
    for_each_isa([&] { expect_within_bound(product_of<float>(SlicePadding::packed, w, x, columns), product(w, x, columns)); });
  }
}

TEST(SlicedCsr, PackedMayBeginInTheMiddleOfASlice) {
  const Weights w = integer_weights(29, 64, 0.3, 9);
  const std::vector<float> x = integers(64, 10);
  for_each_isa([&] {
    const std::vector<float> whole = product_of<float>(SlicePadding::packed, w, x),
                             part = product_of<float>(SlicePadding::packed, w, x, 1, 11);
    expect_same_bits({part.begin() + 11, part.end()}, {whole.begin() + 11, whole.end()});
  });
}

TEST(SlicedCsr, ArePackedBeyondTheCachesAndPaddedInThem) {
  const auto chosen = [](Index rows, Index cols, double density, Index value_bytes) {
    const Arrays<float> arrays(real_weights(rows, cols, density, 3));
    return SlicedCsrCosts(cols, arrays.row_starts, arrays.columns, value_bytes).kind();
  };
  EXPECT_EQ(chosen(256, 600, 0.1, 4), SlicePadding::padded);
  if (kSlow) return;
  EXPECT_EQ(chosen(4096, 4096, 0.2, 4), SlicePadding::packed);
  EXPECT_EQ(chosen(4096, 4096, 0.2, 2), SlicePadding::packed);
}

}  // namespace
}  // namespace sparse_engine
