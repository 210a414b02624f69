// LargestSelector: the same selection over many arrays that are never held together.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/select/tie_order.hpp"
#include "reference.hpp"
#include "sparse_engine/mask.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

using Bits = std::vector<std::uint8_t>;

// Feeds `scores` cut into arrays of `sizes`, and returns which of them are kept.
std::vector<bool> streamed(const std::vector<float>& scores, std::uint64_t keep, const std::vector<std::size_t>& sizes) {
  std::vector<std::span<const float>> chunks;
  std::size_t first = 0;
  for (const std::size_t size : sizes) {
    chunks.push_back(std::span(scores).subspan(first, size));
    first += size;
  }
  LargestSelector selector(scores.size(), keep);
  do {
    for (const auto& chunk : chunks) selector.feed(chunk);
  } while (selector.next_pass());
  std::vector<bool> all;
  for (const auto& chunk : chunks) {
    Bits bits(mask_bytes(chunk.size()), 0xff);
    selector.mask(chunk, bits);
    for (std::size_t i = 0; i < chunk.size(); ++i) all.push_back((bits[i / 8] >> i % 8 & 1) != 0);
  }
  return all;
}

// By definition: sorted by magnitude, ties by the rank of their place in their array and then by order, the first `keep`.
std::vector<bool> sorted(const std::vector<float>& scores, std::uint64_t keep, const std::vector<std::size_t>& sizes) {
  struct Place {
    float magnitude;
    std::uint32_t rank;
    std::size_t index;
  };
  std::vector<Place> order;
  for (std::size_t array = 0; array < sizes.size(); ++array)
    for (std::size_t i = 0; i < sizes[array]; ++i)
      order.push_back({std::abs(scores[order.size()]), tie_rank(array, 0, i), order.size()});
  std::stable_sort(order.begin(), order.end(), [](const Place& a, const Place& b) {
    return a.magnitude != b.magnitude ? a.magnitude > b.magnitude : a.rank < b.rank;
  });
  std::vector<bool> stays(scores.size());
  for (std::uint64_t i = 0; i < keep; ++i) stays[order[i].index] = true;
  return stays;
}

TEST(LargestSelector, SelectsOverManyArraysAsASortWould) {
  Random random(1);
  for (int round = 0; round < 40; ++round) {
    std::vector<std::size_t> sizes;
    std::size_t total = 0;
    for (Index chunks = random.between(0, 9); chunks > 0; --chunks) {
      sizes.push_back(static_cast<std::size_t>(random.one_in(0.2) ? 0 : random.between(1, 200)));
      total += sizes.back();
    }
    std::vector<float> scores = reals(static_cast<Index>(total), round);
    if (round % 2 == 0)
      for (float& s : scores) s = std::round(s * 3);  // ties across arrays
    for (const std::size_t keep : {std::size_t{0}, std::min<std::size_t>(1, total), total / 3, total / 2, total}) {
      const std::vector<bool> expected = sorted(scores, keep, sizes);
      for_each_isa([&] { EXPECT_EQ(streamed(scores, keep, sizes), expected); });
    }
  }
}

TEST(LargestSelector, TiesSpreadOverArrays) {
  const std::vector<float> chunk(1000, -1.0f);
  LargestSelector selector(9 * chunk.size(), 1800);
  do {
    for (int i = 0; i < 9; ++i) selector.feed(chunk);
  } while (selector.next_pass());
  std::uint64_t all = 0;
  for (int i = 0; i < 9; ++i) {
    Bits bits(125);
    selector.mask(chunk, bits);
    EXPECT_NEAR(static_cast<double>(count_kept(bits, 1000)), 200, 3);
    all += count_kept(bits, 1000);
  }
  EXPECT_EQ(all, 1800u);
  EXPECT_EQ(selector.threshold_bits(), std::bit_cast<std::uint32_t>(1.0f));
  EXPECT_EQ(selector.ties_kept(), 1800u);
}

TEST(LargestSelector, ReportsTheMagnitudeAtTheCut) {
  const std::vector<float> scores = {-3, 0.5f, 2, -0.5f, 1, 0};
  const std::vector<float> sorted = {3, 2, 1, 0.5f, 0.5f, 0};
  const std::vector<std::uint64_t> ties = {1, 1, 1, 1, 2, 1};
  for (std::uint64_t keep = 1; keep <= 6; ++keep) {
    LargestSelector selector(6, keep);
    do selector.feed(scores);
    while (selector.next_pass());
    EXPECT_EQ(selector.threshold_bits(), std::bit_cast<std::uint32_t>(sorted[keep - 1]));
    EXPECT_EQ(selector.ties_kept(), ties[keep - 1]);
  }
}

// Signed counters of 32 bits, or sums kept in a float, would be wrong here: more than 2³¹ scores, most of them in one bucket.
TEST(LargestSelector, CountsMoreScoresThanFit31Bits) {
  constexpr std::uint64_t kChunk = 1 << 22;
  constexpr std::uint64_t kChunks = kSlow ? 3 : (std::uint64_t{1} << 31) / kChunk + 1;
  constexpr std::uint64_t kTotal = kChunk * kChunks;
  std::vector<float> chunk(kChunk, 1.0f);
  for (std::uint64_t i = 0; i < kChunk; i += 4096) chunk[i] = -2.0f;
  constexpr std::uint64_t kLarge = kChunk / 4096 * kChunks;
  constexpr std::uint64_t kKeep = kTotal - 12345;
  LargestSelector selector(kTotal, kKeep);
  do {
    for (std::uint64_t i = 0; i < kChunks; ++i) selector.feed(chunk);
  } while (selector.next_pass());
  EXPECT_EQ(selector.threshold_bits(), std::bit_cast<std::uint32_t>(1.0f));
  EXPECT_EQ(selector.ties_kept(), kKeep - kLarge);
  Bits bits(mask_bytes(kChunk));
  std::uint64_t kept = 0;
  for (std::uint64_t i = 0; i < kChunks; ++i) {
    selector.mask(chunk, bits);
    kept += count_kept(bits, kChunk);
  }
  EXPECT_EQ(kept, kKeep);
}

TEST(LargestSelector, RefusesCallsOutOfOrder) {
  const std::vector<float> scores = {1, 2, 3};
  Bits bits(1);
  EXPECT_REFUSED(LargestSelector(2, 3), "keep = 3 is more than the 2 scores");
  LargestSelector selector(3, 1);
  EXPECT_REFUSED(selector.mask(scores, bits), "masks come after all passes");
  selector.feed(std::span(scores).first(2));
  EXPECT_REFUSED(selector.next_pass(), "pass 1 was fed 2 scores of 3");
  selector.feed(std::span(scores).last(1));
  EXPECT_TRUE(selector.next_pass());
  EXPECT_REFUSED(selector.next_pass(), "pass 2 was fed 0 scores of 3");
  EXPECT_REFUSED(selector.mask(scores, bits), "masks come after all passes");
  selector.feed(scores);
  EXPECT_FALSE(selector.next_pass());
  EXPECT_REFUSED(selector.feed(scores), "the threshold is known");
  selector.mask(scores, bits);
  EXPECT_EQ(bits[0], 0b100);
  EXPECT_REFUSED(selector.mask(scores, bits), "more scores than the announced 3");
}

TEST(LargestSelector, RefusesMoreScoresThanAnnounced) {
  const std::vector<float> scores(5, 1.0f);
  LargestSelector selector(9, 1);
  selector.feed(scores);
  EXPECT_REFUSED(selector.feed(scores), "more scores than the announced 9");
}

TEST(LargestSelector, RefusesFloatsAmongDoubles) {
  LargestSelector selector(4, 1);
  selector.feed(std::vector<double>{1, 2});
  EXPECT_REFUSED(selector.feed(std::vector<float>{1, 2}), "scores of 32 bits among those of 64");
}

TEST(LargestSelector, HasNothingToSelectFromNothing) {
  LargestSelector selector(0, 0);
  while (selector.next_pass()) {
  }
  Bits none;
  EXPECT_NO_THROW(selector.mask(std::span<const float>(), none));
}

}  // namespace
}  // namespace sparse_engine
