#include "sparse_engine/bitmask.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <string>
#include <vector>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
const std::vector<ValueType> kTypes = {ValueType::float32, ValueType::bfloat16, ValueType::float16, ValueType::int8};
// Around lanes of 4 and 8, words of 64 bits and the 512 columns that are written down at a time.
const std::vector<Index> kCols = {0, 1, 3, 4, 7, 8, 9, 15, 63, 64, 65, 127, 128, 130, 511, 512, 513, 1100};

Bitmask made(const Weights& w, ValueType type) { return Bitmask::from_dense(w.values.data(), w.rows, w.cols, type); }

// What the matrix stores, which is what it promises to multiply.
Weights stored(const Matrix& matrix) {
  Weights w{matrix.rows(), matrix.cols(), std::vector<float>(matrix.rows() * matrix.cols(), kNaN)};
  matrix.to_dense(w.values.data());
  return w;
}

std::string text(ValueType type, Index rows, Index cols, Index n) {
  return "type " + std::to_string(static_cast<int>(type)) + ", " + std::to_string(rows) + " × " + std::to_string(cols) +
         " times " + std::to_string(n);
}

TEST(Bitmask, GivesBackTheDenseArrayItWasMadeFrom) {
  for (const Index rows : {0, 1, 2, 9})
    for (const Index cols : kCols)
      for (const double density : {0.0, 0.1, 0.5, 1.0}) {
        const Weights w = real_weights(rows, cols, density, rows * 100 + cols);
        const Bitmask matrix = made(w, ValueType::float32);
        EXPECT_EQ(stored(matrix).values, w.values);
        EXPECT_EQ(matrix.nnz(), static_cast<Index>(parts_of(w).values.size()));
        EXPECT_EQ(matrix.values(), parts_of(w).values);
      }
}

TEST(Bitmask, IsTheSameFromItsPartsForEveryType) {
  for (const ValueType type : kTypes)
    for (const Index cols : kCols) {
      const Bitmask matrix = made(real_weights(5, cols, 0.4, cols), type);
      const Bitmask again = Bitmask::from_parts(matrix.mask(), matrix.values(), 5, cols, type);
      EXPECT_EQ(again.mask(), matrix.mask());
      expect_same_bits(again.values(), matrix.values());
      expect_same_bits(stored(again).values, stored(matrix).values);
      EXPECT_EQ(again.value_type(), type);
    }
}

TEST(Bitmask, RoundsBFloat16ToNearestAndTiesToEven) {
  const auto rounded = [](std::uint32_t bits) {
    const auto v = std::bit_cast<float>(bits);
    return std::bit_cast<std::uint32_t>(Bitmask::from_dense(&v, 1, 1, ValueType::bfloat16).values().at(0));
  };
  EXPECT_EQ(rounded(0x3f808000), 0x3f800000u);  // halfway, even below
  EXPECT_EQ(rounded(0x3f818000), 0x3f820000u);  // halfway, even above
  EXPECT_EQ(rounded(0x3f808001), 0x3f810000u);
  EXPECT_EQ(rounded(0xbf807fff), 0xbf800000u);
  EXPECT_EQ(rounded(0x00010000), 0x00010000u);  // subnormals stay
  EXPECT_EQ(rounded(0x7f800000), 0x7f800000u);
  EXPECT_EQ(rounded(0xff800000), 0xff800000u);
  EXPECT_EQ(rounded(0x7f800001) & 0x7fc00000u, 0x7fc00000u);  // NaN stays NaN
}

TEST(Bitmask, RoundsFloat16ToNearestAndTiesToEven) {
  const auto rounded = [](float v) { return Bitmask::from_dense(&v, 1, 1, ValueType::float16).values().at(0); };
  EXPECT_EQ(rounded(1 + 0x1p-11f), 1);
  EXPECT_EQ(rounded(1 + 0x3p-11f), 1 + 0x1p-9f);
  EXPECT_EQ(rounded(-1 - 0x1.004p-11f), -1 - 0x1p-10f);
  EXPECT_EQ(rounded(65504), 65504);
  EXPECT_EQ(rounded(65519), 65504);
  EXPECT_EQ(rounded(0x1p-24f), 0x1p-24f);
  EXPECT_EQ(rounded(0x1.8p-24f), 0x1p-23f);    // halfway between subnormals, even above
  EXPECT_EQ(rounded(-0x1.4p-23f), -0x1p-23f);  // halfway, even below
  EXPECT_EQ(rounded(0x1.004p-25f), 0x1p-24f);
  EXPECT_EQ(rounded(0x1.fffp-15f), 0x1p-14f);  // into the normal range
  EXPECT_EQ(rounded(kInf), kInf);
  EXPECT_TRUE(std::isnan(rounded(kNaN)));
}

TEST(Bitmask, KeepsInt8WithinHalfAScaleOfTheWeight) {
  const Weights w = real_weights(20, 300, 0.5, 1);
  const Weights kept = stored(made(w, ValueType::int8));
  for (Index row = 0; row < w.rows; ++row) {
    float largest = 0;
    for (Index col = 0; col < w.cols; ++col) largest = std::max(largest, std::abs(w.values[row * w.cols + col]));
    for (Index col = 0; col < w.cols; ++col)
      ASSERT_LE(std::abs(w.values[row * w.cols + col] - kept.values[row * w.cols + col]), largest / 127 * 0.50002f);
  }
}

TEST(Bitmask, DoesNotOverflowBeforeTheScaleOfARow) {
  for_each_isa([&] {
    const Index cols = 200;
    std::vector<float> weights(3 * cols);
    for (Index i = 0; i < 3 * cols; ++i) weights[i] = i % 3 == 0 ? 0.01f * (i % 7 - 3) : 0;  // times 3e37 is far from overflow
    const Bitmask w = Bitmask::from_dense(weights.data(), 3, cols, ValueType::int8);
    std::vector<float> kept(3 * cols);
    w.to_dense(kept.data());
    for (const Index columns : {1, 3}) {
      std::vector<float> x = reals(cols * columns, 3);
      for (Index i = 0; i < cols; i += 10) x[i * columns] *= 3e37f;  // the other columns are ordinary
      const std::vector<float> y = multiplied(w, x, columns);
      for (Index row = 0; row < 3; ++row)
        for (Index c = 0; c < columns; ++c) {
          double exact = 0, bound = 0;
          for (Index k = 0; k < cols; ++k) {
            const double term = static_cast<double>(kept[row * cols + k]) * x[k * columns + c];
            exact += term;
            bound += std::abs(term);
          }
          EXPECT_NEAR(y[row * columns + c], exact, (cols + 4) * 0x1p-24 * bound) << row << " " << c;
        }
    }
    // What is infinite stays so where a weight meets it, and is not seen where none does.
    std::vector<float> x(cols, 1.0f);
    x[1] = kInf;
    const std::vector<float> y = multiplied(w, x, 1);
    for (Index row = 0; row < 3; ++row) EXPECT_EQ(std::isfinite(y[row]), kept[row * cols + 1] == 0) << row;
  });
}

TEST(Bitmask, DoesNotStoreWhatRoundsToZero) {
  const std::vector<float> weights = {0.0f, -0.0f, 1e-30f, 1.0f, -0x1p-26f, 0x1p-149f, 100.0f, 0.3f};
  EXPECT_EQ(Bitmask::from_dense(weights.data(), 1, 8).nnz(), 6);
  EXPECT_EQ(Bitmask::from_dense(weights.data(), 1, 8, ValueType::bfloat16).nnz(), 5);
  EXPECT_EQ(Bitmask::from_dense(weights.data(), 1, 8, ValueType::float16).nnz(), 3);
  EXPECT_EQ(Bitmask::from_dense(weights.data(), 1, 8, ValueType::int8).nnz(), 2);
}

TEST(Bitmask, RefusesWhatATypeCannotHold) {
  const std::vector<float> large = {1, 65520}, huge = {1, 3.4e38f}, infinite = {1, kInf}, nan = {1, kNaN};
  EXPECT_REFUSED(Bitmask::from_dense(large.data(), 1, 2, ValueType::float16), "weights[0, 1] = 65520 does not fit float16");
  EXPECT_REFUSED(Bitmask::from_dense(huge.data(), 1, 2, ValueType::bfloat16), "does not fit bfloat16");
  EXPECT_REFUSED(Bitmask::from_dense(infinite.data(), 1, 2, ValueType::int8), "weights[0, 1] = inf does not fit int8");
  EXPECT_REFUSED(Bitmask::from_dense(nan.data(), 1, 2, ValueType::int8), "does not fit int8");
  EXPECT_NO_THROW(Bitmask::from_dense(infinite.data(), 1, 2, ValueType::float16));
}

TEST(Bitmask, LiesWithinTheBoundForEveryTypeShapeAndWidth) {
  std::uint64_t seed = 0;
  for (const ValueType type : kTypes)
    for (const Index cols : kCols)
      for (const Index rows : {1, 2, 5, 8})
        for (const Index n : {1, 2, 5, 8, 9}) {
          SCOPED_TRACE(text(type, rows, cols, n));
          ++seed;
          const Bitmask matrix = made(real_weights(rows, cols, seed % 3 == 0 ? 0.9 : 0.3, seed), type);
          const std::vector<float> x = reals(cols * n, seed + 1);
          const std::vector<float> bias = seed % 2 == 0 ? reals(rows, seed + 2) : std::vector<float>{};
          const Activation activation = kActivations[seed % 3];
          const Expected expected = product(stored(matrix), x, n, bias, activation);
          for_each_isa([&] { expect_within_bound(multiplied(matrix, x, n, bias, activation), expected); });
        }
}

TEST(Bitmask, ComputesIntegersExactlyWithTheSameBitsOnAnyNumberOfThreads) {
  for (const ValueType type : {ValueType::float32, ValueType::bfloat16, ValueType::float16})
    for (const Index n : {1, 3, 8, 40}) {
      const Weights w = integer_weights(1101, 901, 0.5, 4);
      const Bitmask matrix = made(w, type);
      const std::vector<float> x = integers(w.cols * n, 5), bias = integers(w.rows, 6);
      const Expected expected = product(w, x, n, bias);
      for_each_isa([&] {
        for (const int threads : {1, 2, 3, 8}) {
          SCOPED_TRACE(text(type, w.rows, w.cols, n) + ", threads " + std::to_string(threads));
          const Threads used(threads);
          expect_exactly(multiplied(matrix, x, n, bias), expected);
        }
      });
      if (kSlow) break;
    }
}

TEST(Bitmask, GivesTheSameBitsForAnyNumberOfThreadsAndPlaceInABatch) {
  for (const ValueType type : kTypes) {
    const Weights w = real_weights(701, 900, 0.6, 8);
    const Bitmask matrix = made(w, type);
    const std::vector<float> column = reals(900, 9);
    for_each_isa([&] {
      std::vector<float> one, serial;
      for (const int threads : {1, 2, 3, 8}) {
        const Threads used(threads);
        const std::vector<float> y = multiplied(matrix, column, 1);
        if (one.empty()) one = y;
        expect_same_bits(y, one);
      }
      for (const Index n : {2, 5, 8}) {
        std::vector<float> x;
        for (const float v : column) x.insert(x.end(), n, v);
        const std::vector<float> y = multiplied(matrix, x, n);
        if (serial.empty())
          for (Index row = 0; row < w.rows; ++row) serial.push_back(y[row * n]);
        for (Index i = 0; i < w.rows * n; ++i) ASSERT_EQ(y[i], serial[i / n]);
      }
    });
  }
}

TEST(Bitmask, LeavesTheOutputCleanWhereNoWeightTouchesAnInput) {
  for (const ValueType type : {ValueType::float32, ValueType::bfloat16, ValueType::float16})
    for (const Index n : {1, 2, 7, 8, 20}) {
      Weights w = integer_weights(41, 203, 0.4, 20);
      for (Index row = 0; row < w.rows; ++row)
        for (Index col = 0; col < w.cols; col += 3) w.values[row * w.cols + col] = 0;
      std::vector<float> x = integers(w.cols * n, 21);
      const Expected expected = product(w, x, n);
      for (Index col = 0; col < w.cols; col += 3)
        for (Index c = 0; c < n; ++c) x[col * n + c] = (col + c) % 2 == 0 ? kInf : kNaN;
      for_each_isa([&] { expect_exactly(multiplied(made(w, type), x, n), expected); });
    }
}

TEST(Bitmask, PassesInfinityAndNaNToExactlyTheOutputsTheirWeightsTouch) {
  Random random(22);
  for (const ValueType type : kTypes)
    for (const Index n : {1, 3}) {
      const Bitmask matrix = made(real_weights(60, 150, 0.05, 23), type);
      std::vector<float> x = reals(150 * n, 24);
      for (float& v : x)
        if (random.one_in(0.02)) v = random.pick(std::vector<float>{kInf, -kInf, kNaN});
      const Expected expected = product(stored(matrix), x, n);
      for_each_isa([&] { expect_within_bound(multiplied(matrix, x, n), expected); });
    }
}

TEST(Bitmask, KeepsInfinityAndNaNAmongWeightsToTheirOwnColumns) {
  for (const ValueType type : {ValueType::float32, ValueType::bfloat16, ValueType::float16})
    for (const Index n : {1, 4}) {
      Weights w = integer_weights(30, 100, 0.5, 25);
      w.values[3 * 100 + 17] = kInf;
      w.values[8 * 100 + 99] = kNaN;
      const std::vector<float> x = reals(100 * n, 26);
      const Expected expected = product(w, x, n);
      for_each_isa([&] { expect_within_bound(multiplied(made(w, type), x, n), expected); });
    }
}

TEST(Bitmask, ReadsNoInputPastItsEnds) {
  for (const Flush side : {Flush::end, Flush::beginning})
    for (const ValueType type : kTypes)
      for (const Index cols : kCols) {
        const Weights w = integer_weights(3, cols, 1, 30);
        const Bitmask matrix = made(w, type);
        const std::vector<float> x = integers(cols, 31);
        const Expected expected = product(stored(matrix), x, 1);
        for_each_isa([&] {
          Guarded<float> in(x, side), out(std::vector<float>(3), side);
          multiply(matrix, {in.data(), cols, 1, 1, 1}, {}, {out.data(), 3, 1, 1, 1});
          EXPECT_TRUE(out.untouched());
          expect_within_bound(out.span(), expected);
        });
      }
}

TEST(Bitmask, RefusesPartsThatDisagree) {
  using Bytes = std::vector<std::uint8_t>;
  const auto run = [](const Bytes& mask, const std::vector<float>& values, Index rows, Index cols) {
    Bitmask::from_parts(mask, values, rows, cols);
  };
  EXPECT_NO_THROW(run({0x07, 0x02}, {1, 2, 3, 4}, 2, 5));
  EXPECT_REFUSED(run({0x07}, {1, 2, 3}, 2, 5), "mask has 1 bytes; a matrix of shape (2, 5) needs 2");
  EXPECT_REFUSED(run({0x07, 0, 0}, {1, 2, 3}, 2, 5), "mask has 3 bytes");
  EXPECT_REFUSED(run({0x07, 0x04}, {1, 2, 3, 4}, 2, 5), "has ones past the last weight");
  EXPECT_REFUSED(run({0x07, 0x02}, {1, 2, 3}, 2, 5), "mask has 4 ones but there are 3 values");
  EXPECT_REFUSED(run({0x07, 0x02}, {1, 2, 3, 4, 5}, 2, 5), "mask has 4 ones but there are 5 values");
  EXPECT_REFUSED(run({}, {}, -1, 5), "negative");
  EXPECT_REFUSED(run({}, {}, 1, kMax), "at most");
  EXPECT_REFUSED(run({}, {}, kMax / 2, 7), "does not fit");
  EXPECT_REFUSED(Bitmask::from_parts(Bytes{1}, std::vector<float>{kInf}, 1, 1, ValueType::int8), "values[0] = inf");
  EXPECT_EQ(Bitmask::from_parts({}, {}, 0, 0).nnz(), 0);
}

// The scale of a row is rounded up, and 127 of it were infinite.
TEST(Bitmask, KeepsTheLargestFloatFiniteAsInt8) {
  const float most = std::numeric_limits<float>::max();
  const std::vector<float> weights = {most, -most, most / 2, most / 127};
  const std::vector<std::uint8_t> mask = {15};
  for (const Bitmask& matrix : {Bitmask::from_dense(weights.data(), 1, 4, ValueType::int8),
                                Bitmask::from_parts(mask, weights, 1, 4, ValueType::int8)}) {
    const Weights back = stored(matrix);
    for (std::size_t i = 0; i < 4; ++i)
      EXPECT_NEAR(double{back.values[i]} / double{most}, double{weights[i]} / double{most}, 0.004);
    for_each_isa([&] { EXPECT_EQ(multiplied(matrix, {0, 1, 0, 0}, 1)[0], back.values[1]); });
  }
}

TEST(Bitmask, KeepsZerosThatPartsStore) {
  const std::vector<std::uint8_t> mask = {3};
  const Bitmask matrix = Bitmask::from_parts(mask, std::vector<float>{0, 3}, 1, 2);
  EXPECT_EQ(matrix.nnz(), 2);
  for_each_isa([&] { EXPECT_TRUE(std::isnan(multiplied(matrix, {kInf, 1}, 1)[0])) << "a stored zero is multiplied"; });
}

}  // namespace
}  // namespace sparse_engine
