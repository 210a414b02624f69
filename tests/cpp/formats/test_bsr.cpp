#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "formats/plan_cache.hpp"
#include "reference.hpp"
#include "reference_conv.hpp"
#include "sparse_engine/bsr.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

// Strips of four, of two, single rows; blocks wider than high; heights with a rest.
const std::vector<BlockShape> kBlocks = {{1, 1},  {2, 1}, {3, 1}, {4, 1}, {8, 1}, {12, 1},
                                         {16, 1}, {1, 4}, {4, 4}, {2, 3}, {6, 5}};

// Whole blocks of `draw`n weights, each kept with probability `density`.
Weights blocks_of(Weights (*make)(Index, Index, double, std::uint64_t), Index block_rows, Index block_cols, BlockShape block,
                  double density, std::uint64_t seed) {
  const Index rows = block_rows * block.height, cols = block_cols * block.width;
  Weights w = make(rows, cols, 1, seed);
  Random random(seed + 100);
  for (Index i = 0; i < block_rows; ++i)
    for (Index j = 0; j < block_cols; ++j) {
      if (random.one_in(density)) continue;
      for (Index r = 0; r < block.height; ++r)
        std::fill_n(w.values.begin() + (i * block.height + r) * cols + j * block.width, block.width, 0.0f);
    }
  return w;
}

Bsr bsr_of(const Weights& w, BlockShape block) { return Bsr::from_dense(w.values.data(), w.rows, w.cols, block); }

std::string text(BlockShape block) { return std::to_string(block.height) + " × " + std::to_string(block.width); }

std::vector<float> dense_of(const Bsr& bsr) {
  std::vector<float> out(bsr.rows() * bsr.cols(), kNaN);
  bsr.to_dense(out.data());
  return out;
}

TEST(Bsr, GivesBackTheDenseArrayItWasMadeFrom) {
  for (const BlockShape block : kBlocks) {
    SCOPED_TRACE(text(block));
    for (const double density : {0.0, 0.1, 0.5, 1.0}) {
      const Weights w = blocks_of(real_weights, 5, 9, block, density, 1);
      const Bsr bsr = bsr_of(w, block);
      EXPECT_EQ(dense_of(bsr), w.values);
      const Bsr again = Bsr::from_parts(bsr.row_starts(), bsr.column_indices(), bsr.values(), w.rows, w.cols, block);
      EXPECT_EQ(dense_of(again), w.values);
      EXPECT_EQ(again.nnz(), bsr.nnz());
    }
  }
}

TEST(Bsr, KeepsABlockWithOneWeightOrNaNAndDropsThoseOfZerosOfEitherSign) {
  const std::vector<float> weights = {0.0f, -0.0f, 0, 1, kNaN, 0, 0.0f, -0.0f, 0, 0, 0, 0};
  const Bsr bsr = Bsr::from_dense(weights.data(), 2, 6, {2, 2});
  EXPECT_EQ(bsr.nnz(), 8);
  EXPECT_EQ(bsr.column_indices(), (std::vector<std::int64_t>{1, 2}));
}

TEST(Bsr, LiesWithinTheBoundForEveryBlockAndWidthOfX) {
  std::uint64_t seed = 0;
  for (const BlockShape block : kBlocks) {
    SCOPED_TRACE(text(block));
    for (const Index n : {1, 2, 7, 8, 9, 15, 16, 17, 33, 63, 64, 65, 129}) {
      const Weights w = blocks_of(real_weights, 11, 40, block, 0.3, ++seed);
      const std::vector<float> x = reals(w.cols * n, seed), bias = reals(w.rows, seed + 1);
      const Expected expected = product(w, x, n, bias, Activation::relu);
      for_each_isa([&] { expect_within_bound(multiplied(bsr_of(w, block), x, n, bias, Activation::relu), expected); });
    }
  }
}

TEST(Bsr, LiesWithinTheBoundAcrossTilesAndBlocksOfColumns) {
  for (const BlockShape block : {BlockShape{4, 1}, BlockShape{2, 1}, BlockShape{8, 1}, BlockShape{3, 1}}) {
    SCOPED_TRACE(text(block));
    const Weights w = blocks_of(real_weights, 600 / block.height, 1100, block, 0.02, 5);
    const std::vector<float> x = reals(w.cols * 70, 6);
    const Expected expected = product(w, x, 70);
    for_each_isa([&] { expect_within_bound(multiplied(bsr_of(w, block), x, 70), expected); });
  }
}

TEST(Bsr, ComputesIntegersExactlyOnEveryInstructionSetAndNumberOfThreads) {
  for (const BlockShape block : kBlocks) {
    SCOPED_TRACE(text(block));
    const Weights w = blocks_of(integer_weights, 48, 60, block, 0.4, 3);
    const Bsr bsr = bsr_of(w, block);
    for (const Index n : {1, 3, 40, 200}) {
      const std::vector<float> x = integers(w.cols * n, 4);
      const Expected expected = product(w, x, n);
      for_each_isa([&] {
        for (const int threads : {1, 2, 5}) {
          const Threads set(threads);
          expect_exactly(multiplied(bsr, x, n), expected);
        }
      });
    }
  }
}

TEST(Bsr, ConvolvesWithinTheBoundWithAndWithoutGroupsThatCutStrips) {
  for (const Index groups : {1, 2, 3}) {
    for (const Index kernel : {1, 3}) {
      ConvCase c{{.kernel_h = kernel, .kernel_w = kernel}, 3, 6, 11, 13, 12};
      c.shape.groups = groups;  // of 12, 6 and 4 filters: strips of four, two and four rows
      c.shape.pad_top = c.shape.pad_left = c.shape.pad_bottom = c.shape.pad_right = kernel / 2;
      SCOPED_TRACE(c.text());
      const Weights w = blocks_of(real_weights, 3, c.cols(), {4, 1}, 0.4, 7);
      const Bsr bsr = bsr_of(w, {4, 1});
      const std::vector<float> x = reals(c.inputs(), 8);
      const Expected expected = convolution(c, w, x);
      for_each_isa([&] {
        std::vector<float> y(c.outputs(), kNaN);
        const Index in = c.height * c.width, out = c.out_height() * c.out_width();
        conv2d({x.data(), c.batch, c.channels, c.height, c.width, c.channels * in, in, c.width, 1}, bsr, c.shape, {},
               {y.data(), c.batch, c.filters, c.out_height(), c.out_width(), c.filters * out, out, c.out_width(), 1});
        expect_within_bound(y, expected);
      });
    }
  }
}

TEST(Bsr, LeavesTheOutputCleanWhereNoBlockTouchesAnInput) {
  for (const BlockShape block : kBlocks) {
    SCOPED_TRACE(text(block));
    Weights w = blocks_of(real_weights, 9, 30, block, 0.4, 9);
    for (Index row = 0; row < w.rows; ++row) {  // the first block column and every third stay empty
      for (Index col = 0; col < w.cols; ++col)
        if (col / block.width % 3 == 0) w.values[row * w.cols + col] = 0;
    }
    for (const Index n : {1, 5, 8, 70}) {
      std::vector<float> x = reals(w.cols * n, 10);
      for (Index col = 0; col < w.cols; ++col)
        if (col / block.width % 3 == 0) std::fill_n(x.begin() + col * n, n, col % 2 == 0 ? kInf : kNaN);
      const Expected expected = product(w, x, n);
      for_each_isa([&] { expect_within_bound(multiplied(bsr_of(w, block), x, n), expected); });
    }
  }
}

TEST(Bsr, ReadsAndWritesNothingOutsideTheCallersArrays) {
  const Weights w = blocks_of(integer_weights, 7, 21, {4, 1}, 0.5, 11);
  for (const Flush side : {Flush::end, Flush::beginning}) {
    Guarded<float> weights(w.values, side);
    const Bsr bsr = Bsr::from_dense(weights.data(), w.rows, w.cols, {4, 1});
    for (const Index n : {1, 3, 8, 9, 66}) {
      Guarded<float> x(integers(w.cols * n, 12), side), y(std::vector<float>(w.rows * n, kNaN), side);
      for_each_isa([&] { multiply(bsr, {x.data(), w.cols, n, n, 1}, {}, {y.data(), w.rows, n, n, 1}); });
      EXPECT_TRUE(y.untouched());
      expect_exactly(y.span(), product(w, {x.data(), x.data() + w.cols * n}, n));
    }
  }
}

TEST(Bsr, CutsItsRowsIntoSharesOfWholeBlocks) {
  const Weights w = blocks_of(real_weights, 23, 10, {8, 1}, 0.3, 13);
  const Bsr bsr = bsr_of(w, {8, 1});
  Index before = 0;
  for (Index share = 0; share <= 8; ++share) {
    const Index row = bsr.impl()->row_at_share(share, 8);
    EXPECT_GE(row, before);
    EXPECT_EQ(row % 8, 0);
    before = row;
  }
  EXPECT_EQ(before, w.rows);
}

struct BlockParts {
  std::vector<std::int64_t> indptr, indices;
  std::vector<float> values;
  Index rows, cols;
  BlockShape block;
  Bsr bsr() const { return Bsr::from_parts(indptr, indices, values, rows, cols, block); }
};

BlockParts good() { return {{0, 2, 3}, {2, 0, 1}, std::vector<float>(12, 1), 4, 6, {2, 2}}; }

TEST(BsrFromParts, SortsTheBlocksOfARow) {
  BlockParts parts = good();
  for (std::size_t i = 0; i < 12; ++i) parts.values[i] = static_cast<float>(i + 1);
  const Bsr bsr = parts.bsr();
  EXPECT_EQ(bsr.column_indices(), (std::vector<std::int64_t>{0, 2, 1}));
  EXPECT_EQ(dense_of(bsr), (std::vector<float>{5, 6, 0, 0, 1, 2, 7, 8, 0, 0, 3, 4, 0, 0, 9, 10, 0, 0, 0, 0, 11, 12, 0, 0}));
}

TEST(BsrFromParts, RefusesWhatIsNoMatrix) {
  const auto with = [](auto change) {
    BlockParts parts = good();
    change(parts);
    return parts;
  };
  for (const std::int64_t bad : {std::int64_t{-1}, std::int64_t{3}, std::int64_t{1} << 32, kMax})
    EXPECT_REFUSED(with([&](BlockParts& p) { p.indices[1] = bad; }).bsr(), "indices[1] = " + std::to_string(bad));
  EXPECT_REFUSED(with([](BlockParts& p) { p.indices[1] = 2; }).bsr(), "occurs twice in block row 0");
  EXPECT_REFUSED(with([](BlockParts& p) { p.indptr[0] = 1; }).bsr(), "indptr[0] = 1; it must be 0");
  EXPECT_REFUSED(with([](BlockParts& p) { p.indptr[1] = 4; }).bsr(), "indptr[2] = 3 is less than indptr[1] = 4");
  EXPECT_REFUSED(with([](BlockParts& p) { p.indptr[1] = -1; }).bsr(), "indptr[1] = -1");
  EXPECT_REFUSED(with([](BlockParts& p) { p.indptr[2] = kMax; }).bsr(), "they must be equal");
  EXPECT_REFUSED(with([](BlockParts& p) { p.indptr.push_back(3); }).bsr(), "indptr has 4 entries");
  EXPECT_REFUSED(with([](BlockParts& p) { p.values.pop_back(); }).bsr(), "values has 11 entries");
  for (const Index side : {Index{0}, Index{-2}}) {
    EXPECT_REFUSED(with([&](BlockParts& p) { p.block.height = side; }).bsr(), "must be at least 1");
    EXPECT_REFUSED(with([&](BlockParts& p) { p.block.width = side; }).bsr(), "must be at least 1");
  }
  EXPECT_REFUSED(with([](BlockParts& p) { p.block.width = 4; }).bsr(), "does not divide");
  EXPECT_REFUSED(with([](BlockParts& p) { p.block = {kMax, kMax}; }).bsr(), "does not divide");
  EXPECT_REFUSED(with([](BlockParts& p) { p.rows = -4; }).bsr(), "negative");
  EXPECT_REFUSED(Bsr::from_dense(nullptr, kMax - 1, 0, {2, 1}), "shape");
}

}  // namespace
}  // namespace sparse_engine
