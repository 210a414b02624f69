#include "formats/matrix_impl.hpp"

#include <gtest/gtest.h>

#include <utility>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(MatrixImpl, BelongsToTheMatrixItMovesTo) {
  const Weights w = integer_weights(20, 30, 0.4, 1);
  Csr first = w.csr();
  const auto impl = first.impl();
  const std::vector<float> x = integers(30 * 9, 2), before = multiplied(first, x, 9);
  const Csr second = std::move(first);
  EXPECT_EQ(second.impl(), impl);
  EXPECT_EQ(second.rows(), 20);
  EXPECT_GT(second.layout_bytes(), 0) << "layouts move along";
  expect_same_bits(multiplied(second, x, 9), before);
}

TEST(MatrixImpl, NeverGrows) {
  const Weights w = integer_weights(64, 64, 0.4, 1);
  Weights groups = w;
  for (Index i = 0; i < 64 * 64; ++i) groups.values[i] = i % 4 < 2 ? 1.0f : 0.0f;
  const Csr csr = w.csr();
  const Bitmask bitmask = Bitmask::from_dense(w.values.data(), 64, 64);
  const Bsr bsr = Bsr::from_dense(w.values.data(), 64, 64, {4, 1});
  const Nm nm = Nm::from_dense(groups.values.data(), 64, 64, {2, 4});
  for (const Matrix* m : std::initializer_list<const Matrix*>{&csr, &bitmask, &bsr, &nm}) {
    const Index bytes = m->bytes();
    EXPECT_GE(bytes, m->nnz() * 4);
    for (const Index n : {1, 3, 9, 70}) multiplied(*m, integers(64 * n, 2), n);
    EXPECT_EQ(m->bytes(), bytes);
    EXPECT_EQ(m->impl()->size().bytes, bytes);
    EXPECT_GE(m->layout_bytes(), m->nnz() * 4);
  }
}

}  // namespace
}  // namespace sparse_engine
