#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/select/tie_order.hpp"
#include "reference.hpp"
#include "sparse_engine/mask.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

using Bits = std::vector<std::uint8_t>;
constexpr std::size_t kPiece = 1 << 20;  // what one thread handles at a time

bool bit(const Bits& bits, std::size_t i) { return (bits[i / 8] >> i % 8 & 1) != 0; }

// By definition: sorted by magnitude, ties by their rank and then by index, the first `keep` of them.
template <class Score>
Bits largest(const std::vector<Score>& scores, std::size_t keep, std::size_t cols = 0) {
  if (cols == 0) cols = scores.size();
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (std::abs(scores[a]) != std::abs(scores[b])) return std::abs(scores[a]) > std::abs(scores[b]);
    return tie_rank(0, a / cols, a % cols) < tie_rank(0, b / cols, b % cols);
  });
  Bits bits(mask_bytes(scores.size()));
  for (std::size_t i = 0; i < keep; ++i) bits[order[i] / 8] |= static_cast<std::uint8_t>(1 << order[i] % 8);
  return bits;
}

Bits kept(const std::vector<float>& scores, std::uint64_t keep, std::uint64_t cols = 0) {
  Bits bits(mask_bytes(scores.size()), 0xff);
  keep_largest(scores, keep, bits, cols);
  return bits;
}

std::vector<std::size_t> counts_to_keep(std::size_t size) {
  std::vector<std::size_t> counts = {0, 1, 2, size / 10, size / 2, size - size / 10};
  if (size > 0) counts.push_back(size - 1);
  counts.push_back(size);
  std::erase_if(counts, [&](std::size_t k) { return k > size; });
  return counts;
}

TEST(Mask, TakesAByteForEveryEightWeights) {
  EXPECT_EQ(mask_bytes(0), 0u);
  for (const std::uint64_t count : {1, 7, 8}) EXPECT_EQ(mask_bytes(count), 1u);
  EXPECT_EQ(mask_bytes(9), 2u);
  EXPECT_EQ(mask_bytes(std::uint64_t{1} << 33), std::uint64_t{1} << 30);
  EXPECT_EQ(mask_bytes(~std::uint64_t{0}), std::uint64_t{1} << 61);
}

TEST(Mask, KeepsExactlyTheLargestForEverySize) {
  for (const Index size : {0, 1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1000, 4099}) {
    const std::vector<float> scores = reals(size, size);
    for (const std::size_t keep : counts_to_keep(size)) {
      SCOPED_TRACE(std::to_string(keep) + " of " + std::to_string(size));
      const Bits expected = largest(scores, keep);
      for_each_isa([&] {
        const Bits bits = kept(scores, keep);
        EXPECT_EQ(bits, expected);
        EXPECT_EQ(count_kept(bits, size), keep);
      });
    }
  }
}

TEST(Mask, TiesSpreadOverRowsAndColumns) {
  for (const auto& [rows, cols] : {std::pair<std::size_t, std::size_t>{100, 64}, {64, 144}, {144, 64}, {512, 9}, {233, 377}})
    for (const double share : {0.05, 0.2, 0.5, 0.9}) {
      const std::vector<float> scores(rows * cols, -1.0f);
      const auto keep = static_cast<std::size_t>(share * static_cast<double>(rows * cols));
      const Bits bits = kept(scores, keep, cols);
      EXPECT_EQ(count_kept(bits, scores.size()), keep);
      std::vector<double> in_row(rows), in_column(cols);
      for (std::size_t i = 0; i < scores.size(); ++i) in_row[i / cols] += bit(bits, i), in_column[i % cols] += bit(bits, i);
      for (const double count : in_row) EXPECT_NEAR(count, share * static_cast<double>(cols), 3) << rows << " × " << cols;
      for (const double count : in_column) EXPECT_NEAR(count, share * static_cast<double>(rows), 3) << rows << " × " << cols;
    }
}

TEST(Mask, OfFewerKeptTiesNoOtherOnesStay) {
  const std::vector<float> scores(1001);
  for (std::size_t keep = 1; keep <= scores.size(); ++keep) {
    const Bits fewer = kept(scores, keep - 1, 7), more = kept(scores, keep, 7);
    for (std::size_t byte = 0; byte < more.size(); ++byte) ASSERT_EQ(fewer[byte] & ~more[byte], 0) << keep;
  }
}

TEST(Mask, KeepsTheSameTiesOnEveryInstructionSet) {
  for (const Index size : {1, 7, 9, 64, 1001})
    for (const std::size_t cols : {0, 1, 7, 64}) {
      Random random(size);
      std::vector<float> scores(size);
      for (float& s : scores) s = static_cast<float>(random.between(-2, 2));
      for (std::size_t keep = 0; keep <= static_cast<std::size_t>(size); keep += size > 100 ? 37 : 1) {
        const Bits expected = largest(scores, keep, cols);
        for_each_isa([&] { EXPECT_EQ(kept(scores, keep, cols), expected) << keep << " of " << size; });
      }
    }
}

TEST(Mask, RanksDoublesByAllTheirBits) {
  Random random(3);
  for (const Index size : {1, 8, 100, 1001}) {
    std::vector<double> scores(size);
    for (double& s : scores)  // in runs that agree in their upper 15, 31, 47 or all bits, of either sign
      s = static_cast<double>(random.between(-1, 1)) +
          std::ldexp(static_cast<double>(random.between(-9, 9)), static_cast<int>(random.between(-5, 0)) * 12);
    scores.front() = std::numeric_limits<double>::infinity();
    if (size > 1) scores[1] = std::numeric_limits<double>::denorm_min();
    for (const std::size_t keep : counts_to_keep(size)) {
      const Bits expected = largest(scores, keep, 7);
      for_each_isa([&] {
        Bits bits(mask_bytes(size), 0xff);
        LargestSelector selector(size, keep);
        do selector.feed(scores, 7);
        while (selector.next_pass());
        selector.mask(scores, bits, 7);
        EXPECT_EQ(bits, expected) << keep << " of " << size;
      });
    }
  }
}

TEST(Mask, TellsNeighbouringFloatsApart) {
  std::vector<float> scores;
  Random random(5);
  for (const float base : {0x1p-146f, 0x1p-126f, 1.0f, 0x1p127f})
    for (int i = 0; i < 20; ++i)
      scores.push_back(
          std::bit_cast<float>(std::bit_cast<std::uint32_t>(base) + static_cast<std::uint32_t>(random.between(-3, 3))));
  // Bits that differ in the lower half, in the upper half, and around the border between the two passes.
  for (const std::uint32_t bits : {0x00007fffu, 0x00008000u, 0x00008001u, 0x3f807fffu, 0x3f808000u, 0x7f7fffffu, 0x7f800000u})
    scores.push_back(std::bit_cast<float>(bits));
  for (std::size_t keep = 0; keep <= scores.size(); ++keep) {
    const Bits expected = largest(scores, keep);
    for_each_isa([&] { EXPECT_EQ(kept(scores, keep), expected) << keep; });
  }
}

TEST(Mask, OrdersZerosSubnormalsAndInfinities) {
  const float tiny = std::numeric_limits<float>::denorm_min(), small = std::numeric_limits<float>::min();
  const std::vector<float> scores = {0.0f, -0.0f, tiny, -2 * tiny, kInf, small, -kInf, 1.0f, -0.0f, 0.0f};
  // From large to small, as far as no two are equal but the infinities.
  const std::vector<std::size_t> order = {4, 6, 7, 5, 3, 2};
  for (const std::size_t keep : {0, 2, 3, 4, 5, 6}) {
    Bits expected(2);
    for (std::size_t i = 0; i < keep; ++i) expected[order[i] / 8] |= static_cast<std::uint8_t>(1 << order[i] % 8);
    for_each_isa([&] { EXPECT_EQ(kept(scores, keep), expected) << keep; });
  }
}

TEST(Mask, RefusesNaNAndSaysWhere) {
  for (const Index at : {0, 1, 7, 8, 63, 99}) {
    std::vector<float> scores = reals(100, 1);
    scores[at] = at % 2 == 0 ? kNaN : -kNaN;
    for_each_isa([&] {
      EXPECT_REFUSED(kept(scores, 10), "scores[" + std::to_string(at) + "] is NaN");
      EXPECT_REFUSED(kept(scores, 0), "NaN");
      EXPECT_REFUSED(kept(scores, 100), "NaN");
    });
  }
  std::vector<float> scores(3 * kPiece, 1.0f);
  scores[2 * kPiece + 5] = kNaN;
  EXPECT_REFUSED(kept(scores, 10), "scores[" + std::to_string(2 * kPiece + 5) + "] is NaN");
}

TEST(Mask, GivesTheSameBitsForAnyNumberOfThreads) {
  // Three pieces and a bit; few distinct magnitudes, so that ties lie on both sides of every border.
  Random random(2);
  std::vector<float> scores(3 * kPiece + 13);
  for (float& s : scores) s = static_cast<float>(random.between(-3, 3));
  for (const std::size_t keep : {std::size_t{5}, kPiece, 2 * kPiece + 77, 3 * kPiece + 12}) {
    const Bits expected = largest(scores, keep);
    for_each_isa([&] {
      for (const int threads : {1, 2, 3, 8}) {
        const Threads used(threads);
        EXPECT_TRUE(kept(scores, keep) == expected) << keep << " kept by " << threads << " threads";
      }
    });
    if (kSlow) break;
  }
}

TEST(Mask, ReadsAndWritesNothingOutsideTheCallersArrays) {
  for (const Flush side : {Flush::end, Flush::beginning})
    for (const Index size : {1, 7, 8, 9, 16, 33, 1000}) {
      const std::vector<float> values = reals(size, 3);
      const std::size_t keep = static_cast<std::size_t>(size) / 3;
      const Bits expected = largest(values, keep), empty(mask_bytes(size));
      for_each_isa([&] {
        Guarded<float> scores(values, side);
        Guarded<std::uint8_t> bits(empty, side);
        keep_largest(scores.span(), keep, bits.span());
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), bits.data()));
        EXPECT_TRUE(bits.untouched());
        EXPECT_TRUE(apply_mask(bits.span(), scores.data(), size, 4));
        EXPECT_TRUE(scores.untouched());
        EXPECT_EQ(count_kept(bits.span(), size), keep);
      });
    }
}

TEST(Mask, RefusesArraysAndCountsThatDisagree) {
  const std::vector<float> scores(17, 1.0f);
  Bits bits(3), short_bits(2), long_bits(4);
  EXPECT_REFUSED(keep_largest(scores, 18, bits), "keep = 18 is more than the 17 scores");
  EXPECT_REFUSED(keep_largest(scores, ~std::uint64_t{0}, bits), "keep = ");
  EXPECT_REFUSED(keep_largest(scores, 5, short_bits), "a mask over 17 weights takes 3 bytes, not 2");
  EXPECT_REFUSED(keep_largest(scores, 5, long_bits), "takes 3 bytes, not 4");
  float data[17] = {};
  EXPECT_REFUSED(apply_mask(short_bits, data, 17, 4), "takes 3 bytes, not 2");
  EXPECT_REFUSED(count_kept(long_bits, 17), "takes 3 bytes, not 4");
  EXPECT_REFUSED(count_kept(Bits(), ~std::uint64_t{0}), "bytes");
  for (const int item : {0, 3, -4, 16}) EXPECT_REFUSED(apply_mask(bits, data, 17, item), "elements of " + std::to_string(item));
}

template <class Item>
void expect_masking(Item value) {
  for (const std::size_t count : {0, 1, 3, 7, 8, 9, 31, 64, 1001}) {
    Random random(count + sizeof(Item));
    Bits bits(mask_bytes(count));
    for (std::uint8_t& byte : bits) byte = random.one_in(0.2) ? 0xff : static_cast<std::uint8_t>(random.bits());
    // Behind a byte, so that no element is aligned.
    std::vector<unsigned char> storage(1 + count * sizeof(Item) + 8, 0x5a);
    const std::vector<Item> items(count, value);
    const auto* bytes = reinterpret_cast<const unsigned char*>(items.data());
    std::copy(bytes, bytes + count * sizeof(Item), storage.begin() + 1);
    std::vector<unsigned char> expected = storage;
    bool removes = false;
    for (std::size_t i = 0; i < count; ++i) {
      if (bit(bits, i)) continue;
      std::fill_n(expected.begin() + 1 + static_cast<Index>(i * sizeof(Item)), sizeof(Item), static_cast<unsigned char>(0));
      removes = true;
    }
    EXPECT_EQ(apply_mask(bits, storage.data() + 1, count, sizeof(Item)), removes);
    EXPECT_EQ(storage, expected);
    EXPECT_FALSE(apply_mask(bits, storage.data() + 1, count, sizeof(Item))) << "nothing is left to remove";
    EXPECT_EQ(storage, expected);
  }
}

TEST(Mask, ClearsElementsOfEverySizeAndTellsWhetherAnythingChanged) {
  expect_masking<std::uint8_t>(0x80);
  expect_masking<std::uint16_t>(0x0001);
  expect_masking<float>(-0.0f);  // −0 is not zero bytes: it is overwritten, and said so
  expect_masking<double>(kNaN);
}

TEST(Mask, IgnoresTheUnusedBitsOfTheLastByte) {
  EXPECT_EQ(count_kept(Bits{0xff, 0xff}, 11), 11u);
  EXPECT_EQ(count_kept(Bits{0x00, 0xf8}, 11), 0u);
  EXPECT_EQ(count_kept(Bits{}, 0), 0u);
  std::vector<float> data(11, 1.0f);
  EXPECT_FALSE(apply_mask(Bits{0xff, 0x07}, data.data(), 11, 4));
  EXPECT_TRUE(apply_mask(Bits{0xff, 0xf8}, data.data(), 11, 4));
  EXPECT_EQ(std::count(data.begin(), data.end(), 1.0f), 8);
}

TEST(Mask, MasksLargeArraysTheSameForAnyNumberOfThreads) {
  Bits bits(mask_bytes(2 * kPiece + 5));
  Random random(4);
  for (std::uint8_t& byte : bits) byte = static_cast<std::uint8_t>(random.bits());
  for (const int threads : {1, 2, 3, 8}) {
    const Threads used(threads);
    std::vector<std::uint16_t> data(2 * kPiece + 5, 7);
    EXPECT_TRUE(apply_mask(bits, data.data(), data.size(), 2));
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < data.size(); ++i) wrong += data[i] != (bit(bits, i) ? 7 : 0);
    EXPECT_EQ(wrong, 0u);
  }
}

}  // namespace
}  // namespace sparse_engine
