#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "reference.hpp"
#include "sparse_engine/linear.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

const std::vector<double> kDensities = {0, 0.01, 0.1, 0.5, 1};
// Around vectors of 4, 8 and 16 lanes, tiles of 64 columns and blocks of 96 and 384 rows of X.
const std::vector<Index> kWidths = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129};
const std::vector<Index> kCols = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 95, 96, 97, 191, 193, 383, 384, 385};
const std::vector<Index> kRows = {0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 129, 255, 257};

// One shape at one density; which activation, and whether there is a bias, is drawn with the seed.
void expect_shape_within_bound(Index rows, Index cols, Index n, double density, std::uint64_t seed) {
  SCOPED_TRACE(std::to_string(rows) + " × " + std::to_string(cols) + " times " + std::to_string(n) + " columns, density " +
               std::to_string(density));
  const Weights w = real_weights(rows, cols, density, seed);
  std::vector<float> x = reals(cols * n, seed + 1);
  for (float& v : x) v *= 4;  // so that relu6 has something to cut
  Random random(seed + 3);
  const Activation activation = random.pick(kActivations);
  const std::vector<float> bias = random.one_in(0.3) ? std::vector<float>{} : reals(rows, seed + 2);
  const Expected expected = product(w, x, n, bias, activation);
  for_each_isa([&] { expect_within_bound(multiplied(w.csr(), x, n, bias, activation), expected); });
}

TEST(Linear, LiesWithinTheBoundForEveryWidthOfX) {
  std::uint64_t seed = 0;
  for (const Index n : kWidths)
    for (const double density : kDensities) expect_shape_within_bound(33, 97, n, density, seed++);
}

TEST(Linear, LiesWithinTheBoundForEveryNumberOfColumns) {
  std::uint64_t seed = 0;
  for (const Index cols : kCols)
    for (const double density : kDensities)
      for (const Index n : {1, 5, 64}) expect_shape_within_bound(7, cols, n, density, seed++);
}

TEST(Linear, LiesWithinTheBoundForEveryNumberOfRows) {
  std::uint64_t seed = 0;
  for (const Index rows : kRows)
    for (const double density : kDensities)
      for (const Index n : {1, 17, 65}) expect_shape_within_bound(rows, 40, n, density, seed++);
}

TEST(Linear, LiesWithinTheBoundForShapesDrawnAtRandom) {
  Random random(7);
  const int shapes = kSlow ? 60 : 1000;
  for (int i = 0; i < shapes; ++i)
    expect_shape_within_bound(random.pick(kRows), random.pick(kCols), random.pick(kWidths), random.pick(kDensities), i);
}

TEST(Linear, LiesWithinTheBoundWhenRowsAreUneven) {
  Weights w = real_weights(70, 500, 0.02, 1);
  const std::vector<float> full = reals(500, 2);
  for (const Index row : {0, 31, 69}) std::copy(full.begin(), full.end(), w.values.begin() + row * 500);
  std::fill_n(w.values.begin() + 500, 20 * 500, 0.0f);  // rows 1 to 20 are empty
  for (const Index n : {1, 6, 70}) {
    const std::vector<float> x = reals(500 * n, 3);
    const Expected expected = product(w, x, n);
    for_each_isa([&] { expect_within_bound(multiplied(w.csr(), x, n), expected); });
  }
}

TEST(Linear, ComputesIntegersExactlyOnEveryInstructionSetAndNumberOfThreads) {
  struct Case {
    Index rows, cols, n;
    double density;
  };
  // The last ones are large enough to be shared among threads.
  for (const Case& c : {Case{13, 29, 9, 0.4}, Case{100, 385, 33, 0.1}, Case{1100, 900, 1, 0.5}, Case{300, 400, 65, 0.3},
                        Case{520, 97, 129, 0.2}}) {
    const Weights w = integer_weights(c.rows, c.cols, c.density, 4);
    const std::vector<float> x = integers(c.cols * c.n, 5), bias = integers(c.rows, 6);
    for (const Activation activation : kExactActivations) {
      const Expected expected = product(w, x, c.n, bias, activation);
      for_each_isa([&] {
        for (const int threads : {1, 2, 3, 8}) {
          SCOPED_TRACE(threads);
          const Threads used(threads);
          expect_exactly(multiplied(w.csr(), x, c.n, bias, activation), expected);
        }
      });
    }
  }
}

TEST(Linear, GivesTheSameBitsForAnyNumberOfThreadsAndOnRepetition) {
  for (const Index n : {1, 2, 40, 200}) {
    SCOPED_TRACE(n);
    const Weights w = real_weights(1000, 900, 0.6, 8);
    const Csr csr = w.csr();
    const std::vector<float> x = reals(900 * n, 9), bias = reals(1000, 10);
    for_each_isa([&] {
      std::vector<float> serial;
      {
        const Threads one(1);
        serial = multiplied(csr, x, n, bias, Activation::relu);
      }
      for (const int threads : {1, 2, 3, 8}) {
        SCOPED_TRACE(threads);
        const Threads used(threads);
        expect_same_bits(multiplied(csr, x, n, bias, Activation::relu), serial);
      }
    });
    if (kSlow && n == 40) break;
  }
}

TEST(Linear, GivesTheSameBitsWhereverInABatchAColumnStands) {
  const Weights w = real_weights(50, 500, 0.3, 11);
  const Csr csr = w.csr();
  const std::vector<float> column = reals(500, 12);
  for_each_isa([&] {
    std::vector<float> first;
    for (const Index n : {2, 5, 8, 9, 64, 131}) {
      if (n <= 9) first.clear();  // up to eight columns sum in an order that their number may change
      std::vector<float> x;
      for (const float v : column) x.insert(x.end(), n, v);
      const std::vector<float> y = multiplied(csr, x, n);
      if (first.empty())
        for (Index row = 0; row < 50; ++row) first.push_back(y[row * n]);
      for (Index row = 0; row < 50; ++row)
        expect_same_bits({y.data() + row * n, static_cast<std::size_t>(n)}, std::vector<float>(n, first[row]));
    }
  });
}

// More than the caches hold goes past them, where whole cache lines are written; y begins amid one the second time.
TEST(Linear, WritesResultsLargerThanTheCachesExactly) {
  if (kSlow) GTEST_SKIP() << "seventeen million bytes";
  constexpr Index rows = 72, cols = 3, columns = 16 * 3700;
  const Weights w = integer_weights(rows, cols, 0.6, 30);
  const Csr csr = w.csr();
  const std::vector<float> x = integers(cols * columns, 31), before = integers(rows * columns, 32), bias = integers(rows, 33);
  std::vector<float> expected(rows * columns);
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < columns; ++c) {
      float sum = before[r * columns + c] + bias[r];
      for (Index col = 0; col < cols; ++col) sum += w.values[r * cols + col] * x[col * columns + c];
      expected[r * columns + c] = std::max(sum, 0.0f);
    }
  for_each_isa([&] {
    for (const Index shift : {0, 1}) {
      const auto memory = std::make_unique<float[]>(rows * columns + 32);
      float* const y = memory.get() + (16 - reinterpret_cast<std::uintptr_t>(memory.get()) / sizeof(float) % 16) + shift;
      std::copy(before.begin(), before.end(), y);
      multiply(csr, {x.data(), cols, columns, columns, 1}, {.bias = bias.data(), .residual = y, .activation = Activation::relu},
               {y, rows, columns, columns, 1});
      ASSERT_TRUE(std::equal(expected.begin(), expected.end(), y));
    }
  });
}

// Columns of W that no stored weight touches, column 0 among them, see Inf and NaN.
TEST(Linear, LeavesTheOutputCleanWhereNoWeightTouchesAnInput) {
  for (const Index n : {1, 2, 7, 64, 70}) {
    Weights w = integer_weights(40, 200, 0.2, 20);
    for (Index row = 0; row < 40; ++row)
      for (Index col = 0; col < 200; col += 3) w.values[row * 200 + col] = 0;
    std::vector<float> x = integers(200 * n, 21);
    const Expected expected = product(w, x, n);
    for (Index col = 0; col < 200; col += 3)
      for (Index c = 0; c < n; ++c) x[col * n + c] = (col + c) % 2 == 0 ? kInf : kNaN;
    for_each_isa([&] { expect_exactly(multiplied(w.csr(), x, n), expected); });
  }
}

TEST(Linear, PassesInfinityAndNaNToExactlyTheOutputsTheirWeightsTouch) {
  Random random(22);
  for (const Index n : {1, 3, 18, 65}) {
    const Weights w = real_weights(60, 150, 0.05, 23);
    std::vector<float> x = reals(150 * n, 24);
    for (float& v : x)
      if (random.one_in(0.02)) v = random.pick(std::vector<float>{kInf, -kInf, kNaN});
    for (const Activation activation : kActivations) {
      const Expected expected = product(w, x, n, {}, activation);
      for_each_isa([&] { expect_within_bound(multiplied(w.csr(), x, n, {}, activation), expected); });
    }
  }
}

TEST(Linear, IsNotStainedByAnEarlierCallFullOfNaN) {
  const Weights large = integer_weights(300, 500, 0.3, 25), small = integer_weights(19, 23, 0.4, 26);
  const std::vector<float> poison(500 * 70, kNaN);
  for (const Index n : {1, 2, 5, 63, 65}) {
    const std::vector<float> x = integers(23 * n, 27);
    const Expected expected = product(small, x, n);
    for_each_isa([&] {
      multiplied(large.csr(), poison, 70);
      expect_exactly(multiplied(small.csr(), x, n), expected);
    });
  }
}

TEST(Linear, GivesTheActivatedBiasWhereNothingIsStored) {
  const std::vector<float> bias = {-1, 0, 5, 7, kNaN};
  for (const Index cols : {0, 3}) {
    const Csr w = Weights{5, cols, std::vector<float>(5 * cols)}.csr();
    for (const Index n : {1, 2, 65}) {
      const std::vector<float> x(cols * n, kNaN);
      for_each_isa([&] {
        for (Index c = 0; c < n; ++c) {
          const std::vector<float> none = multiplied(w, x, n, bias), relu = multiplied(w, x, n, bias, Activation::relu),
                                   relu6 = multiplied(w, x, n, bias, Activation::relu6), zero = multiplied(w, x, n);
          for (Index row = 0; row < 4; ++row) {
            EXPECT_EQ(none[row * n + c], bias[row]);
            EXPECT_EQ(relu[row * n + c], std::max(bias[row], 0.0f));
            EXPECT_EQ(relu6[row * n + c], std::clamp(bias[row], 0.0f, 6.0f));
            EXPECT_EQ(zero[row * n + c], 0.0f);
          }
          EXPECT_TRUE(std::isnan(none[4 * n + c]) && std::isnan(relu[4 * n + c]) && std::isnan(relu6[4 * n + c]));
        }
      });
    }
  }
}

TEST(Linear, RefusesShapesThatDisagree) {
  const Csr w = integer_weights(4, 6, 0.5, 31).csr();
  std::vector<float> x(100), y(100);
  const auto run = [&](Index x_rows, Index x_columns, Index y_rows, Index y_columns) {
    multiply(w, {x.data(), x_rows, x_columns, x_columns, 1}, {}, {y.data(), y_rows, y_columns, y_columns, 1});
  };
  const auto run_linear = [&](Index x_rows, Index x_columns, Index y_rows, Index y_columns) {
    linear({x.data(), x_rows, x_columns, x_columns, 1}, w, {}, {y.data(), y_rows, y_columns, y_columns, 1});
  };
  EXPECT_REFUSED(run(5, 3, 4, 3), "X has 5 rows");
  EXPECT_REFUSED(run(0, 0, 4, 0), "X has 0 rows");
  EXPECT_REFUSED(run(6, 3, 5, 3), "Y has shape (5, 3)");
  EXPECT_REFUSED(run(6, 3, 4, 2), "Y has shape (4, 2)");
  EXPECT_REFUSED(run_linear(3, 5, 3, 4), "x has 5 features");
  EXPECT_REFUSED(run_linear(3, 6, 4, 4), "y has shape (4, 4)");
  EXPECT_REFUSED(run_linear(3, 6, 3, 6), "y has shape (3, 6)");
}

}  // namespace
}  // namespace sparse_engine
