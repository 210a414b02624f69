#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "reference.hpp"
#include "reference_one_column.hpp"
#include "sparse_engine/csr.hpp"
#include "value_types.hpp"

// One column of x beyond the L1 cache: the weights are laid out in blocks of columns.
namespace sparse_engine {
namespace {

using namespace reference;

constexpr Index kCols = 9216;
constexpr Index kRows = kSlow ? 5 : 300;  // chunks of 128 and a part of one

TEST(CsrBlocks, AreLaidOutForOneColumnOfManyAndCounted) {
  const Weights w = real_weights(7, kCols, 0.2, 1);  // too few for windows
  const Csr csr = w.csr();
  static_cast<void>(multiplied(csr, reals(kCols * 2, 2), 2));
  EXPECT_EQ(csr.layout_bytes(), 0) << "two columns need no blocks";
  static_cast<void>(multiplied(csr, reals(kCols, 2), 1));
  EXPECT_GT(csr.layout_bytes(), csr.nnz() * 6);
  const Csr thin = real_weights(8, kCols, 0.02, 1).csr(), skinny = real_weights(7, 8192, 0.2, 1).csr();
  for (const Csr* other : {&thin, &skinny}) {
    static_cast<void>(multiplied(*other, reals(other->cols(), 2), 1));
    EXPECT_EQ(other->layout_bytes(), 0);
  }
}

TEST(CsrBlocks, LieWithinTheBoundForEveryTypeOfValueAndWidth) {
  for (const ValueType type : value_types(CsrValues{}))
    for (const Index cols : {Index{8193}, kCols, Index{20001}}) {
      SCOPED_TRACE(cols);
      Weights w = real_weights(kRows, cols, 0.06, cols);
      for (Index col = 0; col < cols; ++col) w.values[2 * cols + col] = 0;         // an empty row
      for (Index col = 0; col < cols / 2; ++col) w.values[3 * cols + col] = 0;     // one without a first block
      for (Index col = cols / 3; col < cols; ++col) w.values[4 * cols + col] = 0;  // and one without a last
      const Csr csr = Csr::from_dense(w.values.data(), w.rows, w.cols, type);
      w.values = dense(csr);
      const std::vector<float> x = reals(cols, 7), bias = reals(kRows, 8);
      const Expected expected = product(w, x, 1, bias, Activation::relu);
      for_each_isa([&] { expect_within_bound(multiplied(csr, x, 1, bias, Activation::relu), expected); });
    }
}

TEST(CsrBlocks, ComputeIntegersExactlyAndTheSameBitsOnAnyNumberOfThreads) {
  expect_one_column_is_exact_on_any_number_of_threads(kRows, kCols, 0.1);
}

TEST(CsrBlocks, PassInfinityAndNaNToExactlyTheOutputsTheirWeightsTouch) {
  const Weights w = real_weights(kRows, kCols, 0.05, 23);
  std::vector<float> x = reals(kCols, 24);
  x[5] = kInf;
  x[4607] = kNaN;  // on both sides of the border
  x[4608] = -kInf;
  x[kCols - 1] = kNaN;
  const Expected expected = product(w, x, 1);
  const Csr csr = w.csr();
  for_each_isa([&] { expect_within_bound(multiplied(csr, x, 1), expected); });
}

}  // namespace
}  // namespace sparse_engine
