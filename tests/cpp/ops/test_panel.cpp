// Panels: the strided views that products read and write.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "reference.hpp"
#include "sparse_engine/linear.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Panel, MultipliesInTheLayoutOfTorchLinear) {
  for (const Index n : {0, 1, 2, 9, 67}) {
    const Weights w = integer_weights(37, 101, 0.3, 13);
    const std::vector<float> x = integers(n * 101, 14), bias = integers(37, 15);
    std::vector<float> columns(n * 101);
    for (Index i = 0; i < n; ++i)
      for (Index k = 0; k < 101; ++k) columns[k * n + i] = x[i * 101 + k];
    const Expected expected = product(w, columns, n, bias, Activation::relu);
    for_each_isa([&] {
      std::vector<float> y(n * 37, kNaN), transposed(n * 37);
      linear({x.data(), n, 101, 101, 1}, w.csr(), {.bias = bias.data(), .activation = Activation::relu},
             {y.data(), n, 37, 37, 1});
      for (Index i = 0; i < n; ++i)
        for (Index row = 0; row < 37; ++row) transposed[row * n + i] = y[i * 37 + row];
      expect_exactly(transposed, expected);
    });
  }
}

// A panel of `rows` × `columns` laid out with the given strides inside an array, element (0, 0) at `origin`.
struct Layout {
  const char* what;
  Index row_stride, column_stride, origin, size;
};

std::vector<Layout> layouts(Index rows, Index columns) {
  return {{"row-major", columns, 1, 0, rows * columns},
          {"transposed", 1, rows, 0, rows * columns},
          {"padded rows", columns + 3, 1, 2, rows * (columns + 3)},
          {"padded columns", 1, rows + 5, 4, columns * (rows + 5)},
          {"every second column", 2 * columns, 2, 1, rows * 2 * columns},
          {"every third row", 3 * columns, 1, 0, rows * 3 * columns},
          {"rows backwards", -columns, 1, (rows - 1) * columns, rows * columns},
          {"columns backwards", columns, -1, columns - 1, rows * columns},
          {"transposed, both backwards", -1, -rows, rows * columns - 1, rows * columns},
          {"both strided", 2, 2 * rows + 3, 0, columns * (2 * rows + 3)}};
}

TEST(Panel, TakesEveryPairOfStridesAndWritesNothingElse) {
  for (const Index n : {1, 3, 4, 11, 66}) {
    const Weights w = integer_weights(21, 30, 0.4, 16);
    const std::vector<float> x = integers(30 * n, 17);
    const Expected expected = product(w, x, n);
    for_each_isa([&] {
      for (const Layout& in : layouts(30, n)) {
        for (const Layout& out : layouts(21, n)) {
          SCOPED_TRACE(std::string(in.what) + " to " + out.what + ", " + std::to_string(n) + " columns");
          std::vector<float> source(in.size, kNaN), target(out.size, 77.0f), y;
          for (Index r = 0; r < 30; ++r)
            for (Index c = 0; c < n; ++c) source[in.origin + r * in.row_stride + c * in.column_stride] = x[r * n + c];
          multiply(w.csr(), {source.data() + in.origin, 30, n, in.row_stride, in.column_stride}, {},
                   {target.data() + out.origin, 21, n, out.row_stride, out.column_stride});
          for (Index r = 0; r < 21; ++r) {
            for (Index c = 0; c < n; ++c) {
              float& element = target[out.origin + r * out.row_stride + c * out.column_stride];
              y.push_back(element);
              element = 77.0f;
            }
          }
          expect_exactly(y, expected);
          ASSERT_EQ(std::count(target.begin(), target.end(), 77.0f), out.size) << "wrote outside y";
        }
      }
    });
  }
}

TEST(Panel, TakesAnXWhoseColumnsAreOneAndTheSame) {
  const Weights w = integer_weights(20, 30, 0.4, 18);
  const std::vector<float> column = integers(30, 19);
  for (const Index n : {1, 5, 70}) {
    std::vector<float> x, y(20 * n, kNaN);
    for (const float v : column) x.insert(x.end(), n, v);
    multiply(w.csr(), {column.data(), 30, n, 1, 0}, {}, {y.data(), 20, n, n, 1});
    expect_exactly(y, product(w, x, n));
  }
}

TEST(Panel, ReadsAndWritesNothingOutsideTheCallersArrays) {
  for (const Flush side : {Flush::end, Flush::beginning}) {
    for (const Index cols : {1, 5, 17, 97}) {
      for (const Index n : {1, 3, 8, 63, 65}) {
        const Weights w = integer_weights(35, cols, 0.6, 28);
        const Csr csr = w.csr();
        const std::vector<float> values = integers(cols * n, 29), biases = integers(35, 30), empty(35 * n, kNaN);
        const Expected expected = product(w, values, n, biases);
        Guarded<float> x(values, side), bias(biases, side);
        for_each_isa([&] {
          Guarded<float> y(empty, side);
          multiply(csr, {x.data(), cols, n, n, 1}, {.bias = bias.data(), .activation = Activation::none},
                   {y.data(), 35, n, n, 1});
          expect_exactly(y.span(), expected);
          EXPECT_TRUE(y.untouched());
          // The same memory read and written as transposed panels.
          Guarded<float> z(empty, side);
          multiply(csr, {x.data(), cols, n, 1, cols}, {.bias = bias.data(), .activation = Activation::relu},
                   {z.data(), 35, n, 1, 35});
          EXPECT_TRUE(z.untouched());
          EXPECT_EQ(std::count_if(z.span().begin(), z.span().end(), [](float v) { return std::isnan(v); }), 0);
        });
      }
    }
  }
}

}  // namespace
}  // namespace sparse_engine
