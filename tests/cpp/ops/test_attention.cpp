#include "ops/attention.hpp"

#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

Index at(const HeadStrides& s, Index item, Index head, Index token) { return item * s.item + head * s.head + token * s.token; }

HeadStrides strides(bool heads_first, Index heads, Index tokens, Index features) {
  return heads_first ? HeadStrides{heads * tokens * features, tokens * features, features}
                     : HeadStrides{heads * tokens * features, features, heads * features};
}

// In float64; how far float32 may be off: scores are rounded by γ of what they sum, and exp carries that on.
void expect_attention(const AttentionShape& s, const std::vector<float>& mask = {}) {
  const std::vector<float> q = reals(s.batch * s.heads * s.queries * s.depth, 81),
                           k = reals(s.batch * s.heads / s.shared * s.keys * s.depth, 82),
                           v = reals(s.batch * s.heads / s.shared * s.keys * s.width, 83);
  std::vector<float> first;
  for (const int threads : {1, 2, 3}) {
    std::vector<float> y(s.batch * s.heads * s.queries * s.width + 1, kNaN);
    const auto plan = plan_attention(kernels(), s, threads);
    std::vector<float> workspace(plan->workspace_bytes() / 4, kNaN);
    plan->run({.x = q.data(), .y = y.data(), .epilogue = {}, .second = k.data(), .third = v.data(), .fourth = mask.data()},
              workspace.data());
    for (Index item = 0; item < s.batch; ++item)
      for (Index head = 0; head < s.heads; ++head)
        for (Index i = 0; i < s.queries; ++i) {
          std::vector<double> p(s.keys);
          double most = -kInf, sum = 0;
          for (Index j = 0; j < s.keys; ++j) {
            double score = 0;
            for (Index f = 0; f < s.depth; ++f)
              score += double{q[at(s.q, item, head, i) + f]} * k[at(s.k, item, head / s.shared, j) + f];
            p[j] = score / std::sqrt(static_cast<double>(s.depth));
            if (s.masked) p[j] += mask[at(s.mask, item, head, i) + (s.mask_is_one_for_all_keys ? 0 : j)];
            if (s.causal && j > i) p[j] = -kInf;
            if (s.by_position && static_cast<float>(j) > mask[item * s.position_item + i]) p[j] = -kInf;
            most = std::max(most, p[j]);
          }
          for (double& one : p) sum += one = std::isinf(most) ? 0 : std::exp(one - most);
          for (Index f = 0; f < s.width; ++f) {
            double result = 0;
            for (Index j = 0; j < s.keys; ++j) result += sum == 0 ? 0 : p[j] / sum * v[at(s.v, item, head / s.shared, j) + f];
            ASSERT_NEAR(y[at(s.y, item, head, i) + f], result, 2e-6) << "head " << head << ", query " << i;
          }
        }
    ASSERT_TRUE(std::isnan(y.back()));
    if (first.empty()) first = y;
    expect_same_bits(std::vector<float>(y.begin(), y.end() - 1), std::vector<float>(first.begin(), first.end() - 1));
  }
}

AttentionShape shape(Index batch, Index heads, Index queries, Index keys, Index depth, Index width, bool heads_first = true,
                     Index shared = 1) {
  return {.batch = batch,
          .heads = heads,
          .queries = queries,
          .keys = keys,
          .depth = depth,
          .width = width,
          .shared = shared,
          .causal = false,
          .q = strides(heads_first, heads, queries, depth),
          .k = strides(heads_first, heads / shared, keys, depth),
          .v = strides(!heads_first, heads / shared, keys, width),
          .y = strides(heads_first, heads, queries, width)};
}

TEST(Attention, IsThatOfTheExactFormulaInEitherLayout) {
  for_each_isa([&] {
    for (const bool heads_first : {true, false}) {
      expect_attention(shape(2, 3, 5, 7, 8, 8, heads_first));
      expect_attention(shape(1, 3, 37, 41, 20, 12, heads_first));
      expect_attention(shape(1, 1, 64, 16, 64, 64, heads_first));
      expect_attention(shape(1, 4, 1, 1, 1, 1, heads_first));
    }
  });
}

TEST(Attention, SharesHeadsOfKeys) { expect_attention(shape(2, 6, 9, 11, 8, 5, false, 3)); }

TEST(Attention, LooksBackAloneWhereItIsCausal) {
  for (const Index keys : {40, 25, 60}) {
    AttentionShape s = shape(1, 2, 40, keys, 8, 8);
    s.causal = true;
    expect_attention(s);
  }
}

TEST(Attention, AddsAMaskAndIsZeroWhereItHidesAll) {
  AttentionShape s = shape(2, 3, 18, 21, 8, 8);
  s.masked = true;
  s.mask = {21, 0, 0};  // one for all heads and queries of an item
  std::vector<float> mask = reals(2 * 21, 84);
  std::fill(mask.begin(), mask.begin() + 21, -kInf);
  mask[25] = -kInf;
  expect_attention(s, mask);
  s.mask = {0, 18 * 21, 21};
  expect_attention(s, reals(3 * 18 * 21, 85));
  s.mask = {0, 0, 1};  // a number for each query
  s.mask_is_one_for_all_keys = true;
  expect_attention(s, reals(18, 86));
}

TEST(Attention, OfFewQueriesReadsKeysAndValuesWhereTheyLie) {
  for_each_isa([&] {
    for (const bool heads_first : {true, false})
      for (const Index queries : {1, 2, 3, 6, 7}) {
        expect_attention(shape(2, 3, queries, 67, 64, 64, heads_first));
        expect_attention(shape(1, 6, queries, 33, 20, 16, heads_first, 3));
        expect_attention(shape(1, 2, queries, 9, 8, 5, heads_first, 2));
      }
  });
  EXPECT_LT(plan_attention(kernels(), shape(1, 2, 1, 1024, 64, 64), 1)->workspace_bytes(), 1024 * 64 * 4);
}

TEST(Attention, OfOneQueryAddsAMaskAndIsZeroWhereItHidesAll) {
  AttentionShape s = shape(2, 3, 1, 21, 16, 16);
  s.masked = true;
  s.mask = {21, 0, 0};
  std::vector<float> mask = reals(2 * 21, 84);
  std::fill(mask.begin(), mask.begin() + 21, -kInf);
  mask[25] = -kInf;
  expect_attention(s, mask);
  s.mask = {0, 1, 0};
  s.mask_is_one_for_all_keys = true;
  expect_attention(s, reals(3, 86));
}

TEST(Attention, OfNothingIsNothing) {
  EXPECT_EQ(plan_attention(kernels(), shape(0, 2, 3, 4, 8, 8), 2)->tasks(), 0);
  EXPECT_EQ(plan_attention(kernels(), shape(1, 2, 0, 4, 8, 8), 2)->tasks(), 0);
  EXPECT_REFUSED(plan_attention(kernels(), shape(1, 2, 3, 4, 0, 8), 2), "needs at least 1");
}

TEST(Attention, SeesKeysUpToPositions) {
  for (const Index shared : {1, 2})
    for (const Index queries : {1, 5, 37}) {
      AttentionShape s = shape(2, 4, queries, 50, 8, 12, true, shared);
      s.by_position = true;
      std::vector<float> positions(2 * queries);
      for (Index i = 0; i < 2 * queries; ++i) positions[i] = static_cast<float>(i * 17 % 50);
      expect_attention(s, positions);
      s.position_item = queries;
      expect_attention(s, positions);
    }
}

TEST(Attention, OfPositionsThatAreNoKeysReadsNothingElse) {
  AttentionShape s = shape(1, 1, 5, 3, 8, 8);
  s.by_position = true;
  const std::vector<float> q = reals(40, 84), k = reals(24, 85), v = reals(24, 86);
  const std::vector<float> wrong = {-1, kNaN, -kInf, 1e30f, kInf}, clamped = {0, 0, 0, 2, 2};
  const auto plan = plan_attention(kernels(), s, 1);
  std::vector<float> workspace(plan->workspace_bytes() / 4, kNaN), found(40), expected(40);
  const auto run = [&](const std::vector<float>& positions, std::vector<float>& y) {
    plan->run({.x = q.data(), .y = y.data(), .epilogue = {}, .second = k.data(), .third = v.data(), .fourth = positions.data()},
              workspace.data());
  };
  run(wrong, found);
  run(clamped, expected);
  expect_same_bits(found, expected);
}

}  // namespace
}  // namespace sparse_engine
