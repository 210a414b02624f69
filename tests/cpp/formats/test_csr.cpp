#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "formats/plan_cache.hpp"
#include "reference.hpp"
#include "sparse_engine/csr.hpp"
#include "value_types.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();

std::vector<std::int64_t> starts(const Csr& csr) { return {csr.row_starts().begin(), csr.row_starts().end()}; }
std::vector<float> stored(const Csr& csr) { return csr.values(); }

TEST(Csr, GivesBackTheDenseArrayItWasMadeFrom) {
  for (const Index rows : {0, 1, 2, 9, 33}) {
    for (const Index cols : {0, 1, 15, 16, 17, 18, 97}) {  // 16: see SPARSE_ENGINE_COLUMNS_OF_16_BITS
      for (const double density : {0.0, 0.01, 0.1, 0.5, 1.0}) {
        const Weights w = real_weights(rows, cols, density, rows * 100 + cols);
        const Parts parts = parts_of(w);
        const Csr from_dense = w.csr(), from_parts = parts.csr();
        for (const Csr* csr : {&from_dense, &from_parts}) {
          EXPECT_EQ(csr->rows(), rows);
          EXPECT_EQ(csr->cols(), cols);
          EXPECT_EQ(csr->nnz(), static_cast<Index>(parts.values.size()));
          EXPECT_EQ(starts(*csr), parts.indptr);
          EXPECT_EQ(csr->column_indices(), parts.indices);
          EXPECT_EQ(stored(*csr), parts.values);
          EXPECT_EQ(dense(*csr), w.values);
        }
      }
    }
  }
}

TEST(Csr, DropsBothZerosOfADenseArrayAndKeepsEverythingElse) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  const std::vector<float> weights = {0.0f, -0.0f, tiny, -tiny, kInf, -kInf, kNaN, 1.0f};
  const Csr csr = Csr::from_dense(weights.data(), 2, 4);
  EXPECT_EQ(starts(csr), (std::vector<std::int64_t>{0, 2, 6}));
  EXPECT_EQ(csr.column_indices(), (std::vector<std::int64_t>{2, 3, 0, 1, 2, 3}));
  EXPECT_EQ(csr.values()[0], tiny);
  EXPECT_TRUE(std::isnan(csr.values()[4]));
}

TEST(Csr, KeepsZerosThatPartsStoreExplicitly) {
  const Csr csr = Parts{{0, 2}, {0, 1}, {0, 3}, 1, 2}.csr();
  EXPECT_EQ(csr.nnz(), 2);
  EXPECT_TRUE(std::isnan(multiplied(csr, {kInf, 1.0f}, 1)[0])) << "a stored zero is multiplied";
}

TEST(Csr, HoldsIndicesAsWideAsTheMatrix) {
  const std::int64_t most = (std::int64_t{1} << 32) - 1;
  for (const std::int64_t cols : std::vector<std::int64_t>{16, 17, 65535, 65536, 65537, 70000, most}) {
    const std::vector<std::int64_t> indices = {0, cols / 2, cols - 1};
    const Csr csr = Parts{{0, 3}, indices, {1, 2, 3}, 1, cols}.csr();
    EXPECT_EQ(csr.column_indices(), indices) << cols << " columns";
  }
  for (const Index cols : {16, 17, 65535, 65536, 65537, 70000}) {
    Weights w{2, cols, std::vector<float>(2 * cols)};
    w.values[0] = w.values[cols - 1] = w.values[cols] = 2;
    w.values[cols / 2 + 3] = w.values[cols + cols / 3 + 1] = w.values[2 * cols - 2] = -3;
    for (const Index n : {1, 2}) {
      const std::vector<float> x = integers(cols * n, 1);
      for_each_isa([&] { expect_exactly(multiplied(w.csr(), x, n), product(w, x, n)); });
    }
  }
}

// Too large for the caches: weights are asked for ahead, past the last one too.
TEST(Csr, ComputeIntegersExactlyFromAfar) {
  if (kSlow) GTEST_SKIP() << "seven million bytes";
  const Weights w = integer_weights(1030, 1200, 1, 1);
  const Csr csr = w.csr();
  for (const Index n : {2, 8}) {
    const std::vector<float> x = integers(1200 * n, 2);
    const Expected expected = product(w, x, n);
    for_each_isa([&] { expect_exactly(multiplied(csr, x, n), expected); });
  }
}

TEST(Csr, RefusesADenseShapeOfMoreRowsThanCanBeCounted) {
  for (const Index rows : {kMax, kMax - 1, kMax / 8}) EXPECT_REFUSED(Csr::from_dense(nullptr, rows, 0), "shape");
}

TEST(Csr, ReadsNothingOutsideTheArraysItIsMadeFrom) {
  const Weights w = integer_weights(19, 37, 0.4, 3);
  const Parts parts = parts_of(w);
  const Parts no_rows{{0}, {}, {}, 0, 37};
  for (const Flush side : {Flush::end, Flush::beginning}) {
    Guarded<float> weights(w.values, side);
    EXPECT_EQ(dense(Csr::from_dense(weights.data(), 19, 37)), w.values);
    for (const Parts* p : {&parts, &no_rows}) {
      Guarded<std::int64_t> indptr(p->indptr, side), indices(p->indices, side);
      Guarded<float> values(p->values, side);
      const Csr csr = Csr::from_parts(indptr.span(), indices.span(), values.span(), p->rows, p->cols);
      EXPECT_EQ(csr.column_indices(), p->indices);
    }
    Guarded<float> out(std::vector<float>(w.values.size(), kNaN), side);
    w.csr().to_dense(out.data());
    EXPECT_TRUE(out.untouched());
  }
}

TEST(Csr, CutsItsRowsIntoSharesThatCoverThemOnceInOrder) {
  for (const double density : {0.0, 0.1, 1.0}) {
    for (const Index rows : {0, 1, 5, 100}) {
      Weights w = integer_weights(rows, 30, density, 5);
      if (rows == 100) std::fill_n(w.values.begin() + 30, 50 * 30, 0.0f);  // uneven: rows 1 to 50 are empty
      const Csr csr = w.csr();
      for (const Index shares : {1, 2, 3, 8, 200}) {
        EXPECT_EQ(csr.impl()->row_at_share(0, shares), 0);
        EXPECT_EQ(csr.impl()->row_at_share(shares, shares), rows);
        for (Index share = 0; share < shares; ++share)
          EXPECT_LE(csr.impl()->row_at_share(share, shares), csr.impl()->row_at_share(share + 1, shares));
      }
    }
  }
}

TEST(Csr, CutsTheStoredWeightsEvenly) {
  Weights w{100, 64, std::vector<float>(6400)};
  std::fill_n(w.values.begin() + 80 * 64, 20 * 64, 1.0f);  // all of them in the last 20 rows
  const Csr csr = w.csr();
  for (Index share = 0; share < 4; ++share) {
    const Index stored_here =
        csr.row_starts()[csr.impl()->row_at_share(share + 1, 4)] - csr.row_starts()[csr.impl()->row_at_share(share, 4)];
    EXPECT_NEAR(static_cast<double>(stored_here), 20 * 64 / 4.0, 3 * 64);
  }
}

TEST(Csr, CountsTheMemoryItHoldsApartFromLayouts) {
  const Weights w = real_weights(64, 64, 0.5, 6);
  const Csr csr = w.csr();
  const Index before = csr.bytes();
  EXPECT_GE(before, csr.nnz() * 6 + 65 * 8);  // a float and at least 16 bits of column each, and the row starts
  EXPECT_EQ(csr.layout_bytes(), 0);
  multiplied(csr, reals(64 * 9, 7), 9);
  const Index layouts = csr.layout_bytes();
  EXPECT_GE(layouts, csr.nnz() * 8);  // a float and its offset
  multiplied(csr, reals(64 * 9, 7), 9);
  EXPECT_EQ(csr.layout_bytes(), layouts) << "a repeated product needs no new layout";
  EXPECT_EQ(csr.bytes(), before);
}

TEST(Csr, RefusesTilesThatCannotBe) {
  const Csr csr = integer_weights(4, 4, 0.5, 8).csr();
  for (const TileShape& shape :
       {TileShape{1, 0, 1, {0}}, {1, -1, 1, {0}}, {0, 1, 1, {0}}, {-1, 1, 1, {0}}, {1, 1, -1, {0}}, {1, 1, 1, {}}})
    EXPECT_REFUSED(csr.plans().layouts().tiles(shape), "tile shape");
  constexpr Index kReach = Index{1} << 32;
  for (const TileShape& shape : {TileShape{1, 1, kReach, {0}}, {1, 1 << 16, 1 << 16, {0}}, {1, 1, 1, {-1}}})
    EXPECT_REFUSED(csr.plans().layouts().tiles(shape), "a block reaches over");
  EXPECT_REFUSED(csr.plans().layouts().tiles({1, kMax, kMax, {0}}), "block");
  EXPECT_REFUSED(csr.plans().layouts().tiles({1, kMax, 0, {0, 0}}), "block");
}

TEST(Csr, CutsTilesThatCoverTheRowsAndNeverCrossAGroup) {
  const Csr csr = integer_weights(300, 10, 0.5, 9).csr();
  for (const Index group : {1, 7, 100, 150, 300, 1000}) {
    const auto tiles = csr.plans().layouts().tiles({group, 4, 64, {0}});
    Index row = 0;
    for (Index tile = 0; tile < tiles->count(); ++tile) {
      EXPECT_EQ(tiles->row_begin(tile), row);
      row = tiles->row_end(tile);
      EXPECT_LT(tiles->row_begin(tile), row);
      EXPECT_EQ(tiles->row_begin(tile) / group, (row - 1) / group);
    }
    EXPECT_EQ(row, 300);
  }
}

TEST(Csr, MovesWithItsContents) {
  Csr first = Parts{{0, 2, 2, 5}, {1, 4, 0, 2, 3}, {1, 2, 3, 4, 5}, 3, 5}.csr();
  Csr second = std::move(first);
  EXPECT_EQ(second.nnz(), 5);
  Csr third = Weights{1, 1, {2}}.csr();
  third = std::move(second);
  EXPECT_EQ(third.nnz(), 5);
  EXPECT_EQ(multiplied(third, {1, 1, 1, 1, 1}, 1), (std::vector<float>{3, 0, 12}));
}

TEST(Csr, RoundsToEveryTypeOfValueAndMultipliesWhatItStores) {
  for (const ValueType type : value_types(CsrValues{}))
    for (const Index cols : {1, 15, 16, 17, 97, 300})
      for (const Index n : {1, 2, 8, 9, 70}) {
        SCOPED_TRACE(std::to_string(cols) + " columns times " + std::to_string(n));
        Weights w = real_weights(23, cols, 0.4, cols + n);
        const Csr csr = Csr::from_dense(w.values.data(), w.rows, w.cols, type);
        const Bitmask same = Bitmask::from_dense(w.values.data(), w.rows, w.cols, type);
        EXPECT_EQ(csr.values(), same.values());
        w.values = dense(csr);
        const std::vector<float> x = reals(cols * n, 7), bias = reals(23, 8);
        const Expected expected = product(w, x, n, bias);
        for_each_isa([&] { expect_within_bound(multiplied(csr, x, n, bias), expected); });
      }
}

TEST(Csr, ReadsNothingOfTheNextRowInTheLastStepOfARow) {
  // Rows of every length modulo the step; the next row's columns and values are poison.
  for (const ValueType type : {ValueType::float32, ValueType::bfloat16, ValueType::float16})
    for (Index length = 0; length < 40; ++length) {
      Weights w = integer_weights(2, 100, 1, 3);
      std::fill(w.values.begin() + length, w.values.begin() + 50, 0.0f);
      std::fill(w.values.begin() + 50, w.values.begin() + 100, 0.0f);
      std::fill(w.values.begin() + 100, w.values.begin() + 150, 0.0f);
      std::fill(w.values.begin() + 150, w.values.end(), kInf);
      std::vector<float> x = integers(100, 4);
      const Expected expected = product(w, x, 1);
      std::fill(x.begin() + 50, x.end(), kNaN);
      const Csr csr = Csr::from_dense(w.values.data(), 2, 100, type);
      for_each_isa([&] {
        const std::vector<float> y = multiplied(csr, x, 1);
        EXPECT_EQ(y[0], expected.values[0]) << length;
        EXPECT_TRUE(std::isnan(y[1]));
      });
    }
}

TEST(Csr, RefusesValuesThatSixteenBitsCannotHold) {
  const std::vector<float> weights = {1, 65520};
  EXPECT_REFUSED(Csr::from_dense(weights.data(), 1, 2, ValueType::float16), "weights[0, 1] = 65520 does not fit float16");
  EXPECT_NO_THROW(Csr::from_dense(weights.data(), 1, 2, ValueType::bfloat16));
}

}  // namespace
}  // namespace sparse_engine
