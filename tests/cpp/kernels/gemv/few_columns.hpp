// What every kernel of gemv/ owes, whatever the format: act(W · X + bias + residual) of one to eight columns of X, summed over
// stored weights only, read from within its arrays and written where y's strides say and nowhere else.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "base/float_types.hpp"
#include "base/registry.hpp"
#include "formats/matrix_impl.hpp"
#include "kernels/table.hpp"
#include "reference.hpp"

namespace sparse_engine::reference {

// `v` with the zeros at its end that kernels of single rows may read.
template <class T>
std::vector<T> with_slack(std::vector<T> v) {
  v.resize(v.size() + kSlackElements);
  return v;
}

// Row r holds the first r of its columns in a shuffled order, so that every number of weights occurs up to rows - 1.
inline Weights staircase(Index rows, Index cols, bool whole, std::uint64_t seed) {
  Random random(seed);
  Weights w{rows, cols, std::vector<float>(rows * cols)};
  for (Index row = 0; row < rows; ++row) {
    std::vector<Index> order(cols);
    for (Index col = 0; col < cols; ++col) order[col] = col;
    for (Index i = 0; i < std::min(row, cols); ++i) {
      std::swap(order[i], order[random.between(i, cols - 1)]);
      const double magnitude = whole ? static_cast<double>(random.between(1, 4)) : random.unit() + 0.0625;
      w.values[row * cols + order[i]] = static_cast<float>(random.one_in(0.5) ? magnitude : -magnitude);
    }
  }
  return w;
}

// The scale that a type keeps a row with: 1 but for int8, where whole numbers stay what they are.
template <class Value>
float scale_of(const Weights& w, Index row) {
  if (!std::is_same_v<Value, std::int8_t>) return 1;
  float largest = 0;
  bool whole = true;
  for (Index col = 0; col < w.cols; ++col) {
    const float v = w.values[row * w.cols + col];
    largest = std::max(largest, std::abs(v));
    whole = whole && v == std::round(v);
  }
  return whole && largest <= 127 ? 1 : row_scale(largest);
}

template <class Value>
Value stored_as(float v, float scale) {
  if constexpr (std::is_same_v<Value, std::int8_t>) {
    return in_units_of(scale, v);
  } else {
    return rounded<Value>(v);
  }
}

// The weights as a type keeps them.
template <class Value>
Weights kept_as(Weights w) {
  for (Index row = 0; row < w.rows; ++row) {
    const float scale = scale_of<Value>(w, row);
    for (Index col = 0; col < w.cols; ++col) {
      float& v = w.values[row * w.cols + col];
      v = widened(stored_as<Value>(v, scale)) * scale;
    }
  }
  return w;
}

// What kept_as() left, row by row, as the type stores it.
template <class Value>
struct StoredRows {
  explicit StoredRows(const Weights& w) {
    for (Index row = 0; row < w.rows; ++row) {
      scales.push_back(scale_of<Value>(w, row));
      for (Index col = 0; col < w.cols; ++col) {
        const float v = w.values[row * w.cols + col];
        if (v != 0) values.push_back(stored_as<Value>(v, scales.back()));
      }
    }
  }
  // `skinny` of rows from `first` on.
  SkinnyArgs scaled(SkinnyArgs skinny, Index first) const {
    if (std::is_same_v<Value, std::int8_t>) skinny.scales = scales.data() + first;
    return skinny;
  }
  std::vector<Value> values;
  std::vector<float> scales;
};

enum class XLayout { rows, columns };  // eight floats a row, or column after column; one column is contiguous either way
enum class XKind { integers, reals, some_not_finite };

struct FewColumns {
  Index columns;
  XLayout layout;
  XKind kind;
  Flush side;
  bool by_columns, epilogue;  // y column after column; with bias, residual and activation
  Activation activation;

  std::string what() const {
    return std::to_string(columns) + " columns, x of kind " + std::to_string(static_cast<int>(kind)) +
           (side == Flush::end ? ", flush with its end" : ", flush with its beginning") +
           (by_columns ? ", y by columns" : ", y by rows") + (epilogue ? ", with an epilogue" : "");
  }
};

// Rows [first, last) of W · X by `call(args, x_stride)`, against float64 within γ(k + 4) of the kernel and one rounding each
// for bias and residual; integers exactly.
template <class Call>
void expect_rows(const Weights& w, Index first, Index last, const FewColumns& c, const Call& call) {
  SCOPED_TRACE(std::to_string(w.rows) + " × " + std::to_string(w.cols) + ", rows " + std::to_string(first) + " to " +
               std::to_string(last) + ", " + c.what());
  const Index rows = last - first, x_stride = w.cols + 3;
  std::vector<float> x = c.kind == XKind::integers ? integers(w.cols * c.columns, 11) : reals(w.cols * c.columns, 11);
  if (c.kind == XKind::some_not_finite)
    for (Index col = 0; col < w.cols; col += 7)
      x[col * c.columns + col % c.columns] = col % 3 == 0 ? kNaN : col % 3 == 1 ? kInf : -kInf;

  std::vector<float> laid_out;
  if (c.columns == 1) {
    laid_out = x;
  } else if (c.layout == XLayout::rows) {
    laid_out.resize(w.cols * kSkinnyColumns);
    for (Index col = 0; col < w.cols; ++col)
      for (Index i = 0; i < c.columns; ++i) laid_out[col * kSkinnyColumns + i] = x[col * c.columns + i];
  } else {
    laid_out.assign((c.columns - 1) * x_stride + w.cols, kNaN);
    for (Index col = 0; col < w.cols; ++col)
      for (Index i = 0; i < c.columns; ++i) laid_out[i * x_stride + col] = x[col * c.columns + i];
  }

  const Index row_stride = c.by_columns ? 1 : c.columns + 2, column_stride = c.by_columns ? rows + 3 : 1;
  const Index size = rows == 0 ? 0 : (rows - 1) * row_stride + (c.columns - 1) * column_stride + 1;
  constexpr float kUntouched = 77.25f;
  const std::vector<float> bias = integers(rows, 12), residual = integers(size, 13);
  Guarded<float> x_memory(laid_out, c.side), bias_memory(bias, c.side), residual_memory(residual, c.side);
  Guarded<float> y(std::vector<float>(size, kUntouched), c.side);
  call(SkinnyArgs{.rows = rows,
                  .columns = c.columns,
                  .x = x_memory.data(),
                  .bias = c.epilogue ? bias_memory.data() : nullptr,
                  .residual = c.epilogue ? residual_memory.data() : nullptr,
                  .y = y.data(),
                  .y_row_stride = row_stride,
                  .y_column_stride = column_stride,
                  .activation = c.activation},
       c.columns == 1 ? w.cols : x_stride);

  EXPECT_TRUE(y.untouched());
  for (Index r = 0; r < rows; ++r) {
    for (Index i = 0; i < c.columns; ++i) {
      const Index place = r * row_stride + i * column_stride;
      double sum = c.epilogue ? double{bias[r]} + residual[place] : 0;
      double magnitude = c.epilogue ? std::abs(bias[r]) + std::abs(residual[place]) : 0, stored = 0;
      for (Index col = 0; col < w.cols; ++col) {
        const double weight = w.values[(first + r) * w.cols + col];
        if (weight == 0) continue;
        sum += weight * x[col * c.columns + i];
        magnitude += std::abs(weight * x[col * c.columns + i]);
        ++stored;
      }
      const double exact = activated(sum, c.activation), actual = y.data()[place];
      const double bound = c.kind == XKind::integers ? 0 : gamma(stored + 4 + 2) * magnitude;
      const bool good = std::isnan(exact)      ? std::isnan(actual)
                        : std::isfinite(bound) ? std::abs(actual - exact) <= bound
                                               : actual == exact;
      ASSERT_TRUE(good) << "row " << r << ", column " << i << ": " << actual << ", exactly " << exact << " ± " << bound;
      y.data()[place] = kUntouched;
    }
  }
  for (Index i = 0; i < size; ++i) ASSERT_EQ(y.data()[i], kUntouched) << "wrote between the elements of y, at " << i;
}

// `body(case)` for every number of columns, kind of x, layout of y and side of the guard, on every instruction set.
template <class Body>
void for_few_columns(XLayout layout, const Body& body) {
  for_each_isa([&] {
    for (Index columns = 1; columns <= kSkinnyColumns; ++columns)
      for (const XKind kind : {XKind::integers, XKind::reals, XKind::some_not_finite})
        for (const bool by_columns : {false, true})
          for (const bool epilogue : {false, true}) {
            const Flush side = by_columns == epilogue ? Flush::end : Flush::beginning;
            const Activation activation = !epilogue ? Activation::none : by_columns ? Activation::relu : Activation::relu6;
            body(FewColumns{columns, layout, kind, side, by_columns, epilogue, activation});
            if (testing::Test::HasFatalFailure()) return;
          }
  });
}

}  // namespace sparse_engine::reference
