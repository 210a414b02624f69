#include "sparse_engine/nm.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "formats/plan_cache.hpp"
#include "reference_conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

const std::vector<GroupShape> kGroups = {{2, 4}, {1, 2}, {1, 4}, {3, 4}, {2, 3}, {4, 8}, {1, 16}, {5, 9}, {15, 16}};

// n weights in every group, never 0.
Weights group_weights(Index rows, Index cols, GroupShape g, std::uint64_t seed, bool integer) {
  Random random(seed);
  Weights w{rows, cols, std::vector<float>(rows * cols)};
  for (Index first = 0; first < rows * cols; first += g.m) {
    for (Index left = g.n, position = 0; position < g.m; ++position) {
      if (!random.one_in(static_cast<double>(left) / static_cast<double>(g.m - position))) continue;
      --left;
      const double size = integer ? static_cast<double>(random.between(1, 4)) : random.unit() + 0.0625;
      w.values[first + position] = static_cast<float>(random.one_in(0.5) ? size : -size);
    }
  }
  return w;
}

Nm nm_of(const Weights& w, GroupShape g) { return Nm::from_dense(w.values.data(), w.rows, w.cols, g); }

std::vector<float> dense_of(const Nm& nm) {
  std::vector<float> out(nm.rows() * nm.cols(), kNaN);
  nm.to_dense(out.data());
  return out;
}

std::string text(GroupShape g) { return std::to_string(g.n) + ":" + std::to_string(g.m); }

TEST(Nm, GivesBackTheDenseArrayItWasMadeFrom) {
  for (const GroupShape g : kGroups) {
    for (const Index rows : {0, 1, 7, 8, 9, 17}) {
      for (const Index groups : {0, 1, 2, 3, 31, 33, 70}) {
        SCOPED_TRACE(text(g) + ", " + std::to_string(rows) + " rows of " + std::to_string(groups) + " groups");
        const Weights w = group_weights(rows, groups * g.m, g, rows + groups, false);
        const Nm nm = nm_of(w, g);
        EXPECT_EQ(nm.nnz(), rows * groups * g.n);
        EXPECT_EQ(dense_of(nm), w.values);
        const std::vector<float> values = nm.values();
        const std::vector<std::uint8_t> positions = nm.positions();
        const Nm again = Nm::from_parts(values, positions, rows, groups * g.m, g);
        EXPECT_EQ(dense_of(again), w.values);
        EXPECT_EQ(again.positions(), positions);
      }
    }
  }
}

TEST(Nm, StoresThePositionsInAsFewBitsAsTheyNeed) {
  const Nm nm = nm_of(group_weights(64, 1024, {2, 4}, 1, false), {2, 4});
  EXPECT_LE(nm.bytes(), nm.nnz() * 4 + nm.nnz() / 4 + 64);
  const Nm wide = nm_of(group_weights(64, 1024, {4, 16}, 1, false), {4, 16});
  EXPECT_LE(wide.bytes(), wide.nnz() * 4 + wide.nnz() / 2 + 64);
}

TEST(Nm, FillsGroupsWithFewerNonzerosWithZerosThatAreMultiplied) {
  const std::vector<float> weights = {0, 0, 0, 5, 0, -0.0f, 0, 0};
  const Nm nm = Nm::from_dense(weights.data(), 1, 8, {2, 4});
  EXPECT_EQ(nm.nnz(), 4);
  EXPECT_EQ(nm.positions(), (std::vector<std::uint8_t>{0, 3, 0, 1}));
  EXPECT_EQ(dense_of(nm), weights);
  for_each_isa([&] {
    EXPECT_EQ(multiplied(nm, {1, kInf, kNaN, 2, 3, 4, kInf, kNaN}, 1)[0], 10);
    EXPECT_TRUE(std::isnan(multiplied(nm, {kInf, 1, 1, 1, 1, 1, 1, 1}, 1)[0])) << "a stored zero is multiplied";
  });
}

TEST(Nm, LiesWithinTheBoundForEveryGroupAndShape) {
  std::uint64_t seed = 0;
  for (const GroupShape g : kGroups)
    for (const Index rows : {1, 2, 7, 8, 9, 33})
      for (const Index groups : {0, 1, 2, 3, 31, 32, 33, 65})
        for (const Index n : {1, 2, 7, 8, 9, 65}) {
          if (kSlow && (seed % 7 != 0)) {
            ++seed;
            continue;
          }
          SCOPED_TRACE(text(g) + ", " + std::to_string(rows) + " rows of " + std::to_string(groups) + " groups times " +
                       std::to_string(n));
          const Weights w = group_weights(rows, groups * g.m, g, seed, false);
          const Nm nm = nm_of(w, g);
          const std::vector<float> x = reals(w.cols * n, seed + 1), bias = reals(rows, seed + 2);
          const Activation activation = kActivations[seed++ % kActivations.size()];
          const Expected expected = product(w, x, n, bias, activation);
          for_each_isa([&] { expect_within_bound(multiplied(nm, x, n, bias, activation), expected); });
        }
}

TEST(Nm, ComputesIntegersExactlyOnAnyNumberOfThreadsWithAResidual) {
  for (const GroupShape g : {GroupShape{2, 4}, {1, 2}, {3, 8}}) {
    const Weights w = group_weights(1003, 24 * 40, g, 3, true);
    const Nm nm = nm_of(w, g);
    for (const Index n : {1, 5, 40}) {
      const std::vector<float> x = integers(w.cols * n, 5), bias = integers(w.rows, 6), residual = integers(w.rows * n, 7);
      Expected expected = product(w, x, n, bias);
      for (std::size_t i = 0; i < residual.size(); ++i) expected.values[i] += residual[i];
      for_each_isa([&] {
        for (const int threads : {1, 2, 5}) {
          const Threads used(threads);
          std::vector<float> y(w.rows * n);
          std::copy(residual.begin(), residual.end(), y.begin());
          multiply(nm, {x.data(), w.cols, n, n, 1}, {.bias = bias.data(), .residual = y.data()}, {y.data(), w.rows, n, n, 1});
          expect_exactly(y, expected);
        }
      });
    }
  }
}

TEST(Nm, GivesTheSameBitsWhereverInABatchAColumnStands) {
  const Weights w = group_weights(50, 500, {2, 4}, 11, false);
  const Nm nm = nm_of(w, {2, 4});
  const std::vector<float> column = reals(500, 12);
  for_each_isa([&] {
    for (const Index n : {2, 5, 8, 64, 131}) {
      std::vector<float> x;
      for (const float v : column) x.insert(x.end(), n, v);
      const std::vector<float> y = multiplied(nm, x, n);
      for (Index row = 0; row < 50; ++row)
        expect_same_bits({y.data() + row * n, static_cast<std::size_t>(n)}, std::vector<float>(n, y[row * n]));
    }
  });
}

TEST(Nm, LeavesTheOutputCleanWhereNoWeightTouchesAnInput) {
  for (const GroupShape g : {GroupShape{2, 4}, {1, 2}, {2, 6}}) {
    for (const Index groups : {31, 33}) {  // an odd number: half of the last vector is not there
      Weights w = group_weights(19, groups * g.m, g, 20, true);
      for (Index i = 0; i < 19 * w.cols; ++i)  // the last place of every group stays empty
        if (i % g.m == g.m - 1 && w.values[i] != 0) {
          const Index first = i - g.m + 1;
          const auto place = std::find(w.values.begin() + first, w.values.begin() + i, 0.0f);
          std::swap(*place, w.values[i]);
        }
      const Nm nm = nm_of(w, g);
      for (const Index n : {1, 3, 20}) {
        std::vector<float> x = integers(w.cols * n, 21);
        const Expected expected = product(w, x, n);
        for (Index col = g.m - 1; col < w.cols; col += g.m)
          for (Index c = 0; c < n; ++c) x[col * n + c] = c % 2 ? kInf : kNaN;
        for_each_isa([&] { expect_exactly(multiplied(nm, x, n), expected); });
      }
    }
  }
}

TEST(Nm, ReadsNothingOutsideTheColumnItMultiplies) {
  for (const Flush side : {Flush::end, Flush::beginning})
    for (const Index cols : {4, 8, 12, 124, 128, 132}) {
      const Weights w = group_weights(9, cols, {2, 4}, 30, true);
      const Nm nm = nm_of(w, {2, 4});
      const std::vector<float> values = integers(cols, 31);
      for_each_isa([&] {
        Guarded<float> x(values, side), y(std::vector<float>(9, kNaN), side);
        multiply(nm, {x.data(), cols, 1, 1, 1}, {}, {y.data(), 9, 1, 1, 1});
        expect_exactly(y.span(), product(w, values, 1));
        EXPECT_TRUE(y.untouched());
      });
    }
}

TEST(Nm, ConvolvesLikeAnyOtherMatrix) {
  Conv2dParams shape{.kernel_h = 3, .kernel_w = 3};
  shape.pad_top = shape.pad_left = shape.pad_bottom = shape.pad_right = 1;
  const ConvCase c{shape, 2, 8, 9, 11, 20};
  const Weights w = group_weights(20, c.cols(), {2, 4}, 40, true);
  const Nm nm = nm_of(w, {2, 4});
  const std::vector<float> x = integers(c.inputs(), 41);
  for_each_isa([&] { expect_exactly(convolved(c, nm, x), convolution(c, w, x)); });
}

TEST(Nm, CutsItsRowsIntoSharesThatCoverThemOnceInOrder) {
  for (const Index rows : {0, 1, 8, 9, 100}) {
    const Nm nm = nm_of(group_weights(rows, 8, {2, 4}, 50, false), {2, 4});
    for (const Index shares : {1, 2, 3, 8, 200}) {
      EXPECT_EQ(nm.impl()->row_at_share(0, shares), 0);
      EXPECT_EQ(nm.impl()->row_at_share(shares, shares), rows);
      for (Index share = 0; share < shares; ++share)
        EXPECT_LE(nm.impl()->row_at_share(share, shares), nm.impl()->row_at_share(share + 1, shares));
    }
  }
}

TEST(Nm, RefusesWhatIsNoSuchMatrix) {
  const std::vector<float> full(16, 1.0f);
  EXPECT_REFUSED(Nm::from_dense(full.data(), 2, 8, {2, 4}), "weights[0, 0:4] holds 4 non-zeros; 2:4 stores 2");
  for (const GroupShape g : {GroupShape{0, 4}, {4, 4}, {5, 4}, {-1, 4}, {2, 17}, {1, 1}})
    EXPECT_REFUSED(Nm::from_dense(full.data(), 1, 0, g), "1 <= n < m <= 16");
  EXPECT_REFUSED(Nm::from_dense(full.data(), 2, 6, {2, 4}), "do not divide 6 columns");
  EXPECT_REFUSED(Nm::from_dense(nullptr, -1, 4, {2, 4}), "negative side");
  EXPECT_REFUSED(Nm::from_dense(nullptr, Index{1} << 62, 4, {2, 4}), "shape");
  EXPECT_REFUSED(Nm::from_dense(nullptr, 0, Index{1} << 33, {2, 4}), "at most 2³² − 1 columns");
  const std::vector<float> values(4, 1.0f);
  const auto parts = [&](std::vector<std::uint8_t> positions, std::size_t count = 4) {
    Nm::from_parts({values.data(), count}, positions, 1, 8, {2, 4});
  };
  EXPECT_REFUSED(parts({0, 1, 2, 3}, 3), "values has 3 entries");
  EXPECT_REFUSED(parts({0, 1, 2}), "indices has 3 entries");
  EXPECT_REFUSED(parts({0, 1, 2, 4}), "indices[0, 3] = 4 is outside [0, 4)");
  EXPECT_REFUSED(parts({0, 1, 2, 2}), "indices[0, 3] = 2 follows 2");
  EXPECT_REFUSED(parts({3, 1, 2, 3}), "indices[0, 1] = 1 follows 3");
}

}  // namespace
}  // namespace sparse_engine
