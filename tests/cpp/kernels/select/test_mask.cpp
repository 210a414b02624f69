// Histograms of magnitudes, ties and selection, against plain loops.
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "base/registry.hpp"
#include "kernels/table.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

template <class Score>
std::uint64_t magnitude_bits(Score v) {
  return std::bit_cast<std::conditional_t<sizeof(Score) == 4, std::uint32_t, std::uint64_t>>(std::abs(v));
}

// Numbers of every size and both signs, zeros, infinities and subnormals, and many that are equal.
template <class Score>
std::vector<Score> scores(Index count, std::uint64_t seed) {
  Random random(seed);
  std::vector<Score> values(count);
  for (Score& v : values) {
    const double sign = random.one_in(0.5) ? -1 : 1;
    v = random.one_in(0.5) ? static_cast<Score>(sign * 0.5)
                           : static_cast<Score>(sign * random.unit() * std::exp2(static_cast<double>(random.between(-20, 20))));
    if (random.one_in(0.05)) v = static_cast<Score>(sign * 0.0);
    if (random.one_in(0.05)) v = std::numeric_limits<Score>::denorm_min() * static_cast<Score>(sign);
    if (random.one_in(0.05)) v = std::numeric_limits<Score>::infinity() * static_cast<Score>(sign);
  }
  return values;
}

template <class Body>
void for_each_score(const Body& body) {
  for_each_isa([&] { for_each_type(ScoreTypes{}, [&]<class Score>() { body(Score{}); }); });
}

TEST(MaskKernels, CountMagnitudesByTheirUpperBitsAndThenByThoseBelowAKnownPrefix) {
  for_each_score([](auto score) {
    using Score = decltype(score);
    constexpr int kFirst = sizeof(Score) * 8 - 1 - kRadixBits;
    for (const Index count : {0, 1, 7, 8, 9, 1000}) {
      const std::vector<Score> values = scores<Score>(count, 91);
      Guarded<Score> read(values, Flush::end);
      std::vector<std::uint64_t> counted(1 << kRadixBits), expected = counted;
      ASSERT_TRUE(kernels().mask_histogram(
          HistogramArgs<Score>{read.data(), static_cast<std::uint64_t>(count), 0, kFirst, 0, counted.data()}));
      for (const Score v : values) ++expected[magnitude_bits(v) >> kFirst];
      ASSERT_EQ(counted, expected);
      for (const int shift : {0, 3, kFirst - 10}) {
        const int known = std::min(kFirst, shift + kRadixBits);
        const std::uint64_t prefix = magnitude_bits(Score{0.5}) >> known, digits = (std::uint64_t{1} << (known - shift)) - 1;
        std::vector<std::uint64_t> below(1 << kRadixBits), expected_below = below;
        ASSERT_TRUE(kernels().mask_histogram(
            HistogramArgs<Score>{read.data(), static_cast<std::uint64_t>(count), known, shift, prefix, below.data()}));
        for (const Score v : values)
          if (magnitude_bits(v) >> known == prefix) ++expected_below[magnitude_bits(v) >> shift & digits];
        ASSERT_EQ(below, expected_below) << "bits " << shift << " to " << known;
      }
    }
  });
}

TEST(MaskKernels, SayThatThereIsANaNWhereverItLies) {
  for_each_score([](auto score) {
    using Score = decltype(score);
    constexpr int kFirst = sizeof(Score) * 8 - 1 - kRadixBits;
    std::vector<std::uint64_t> counted(1 << kRadixBits);
    for (std::size_t place = 0; place < 19; ++place)
      for (const Score nan : {std::numeric_limits<Score>::quiet_NaN(), -std::numeric_limits<Score>::signaling_NaN()}) {
        std::vector<Score> values(19, std::numeric_limits<Score>::infinity());
        EXPECT_TRUE(kernels().mask_histogram(HistogramArgs<Score>{values.data(), 19, 0, kFirst, 0, counted.data()}));
        std::memcpy(&values[place], &nan, sizeof nan);
        EXPECT_FALSE(kernels().mask_histogram(HistogramArgs<Score>{values.data(), 19, 0, kFirst, 0, counted.data()})) << place;
      }
  });
}

// Where a run of scores lies in an array with rows of `cols`.
struct Place {
  std::uint64_t array, first, cols;
};
const std::vector<Place> kPlaces = {{0, 0, 17}, {3, 5, 17}, {2, 1000003, 1}, {1, 64, 100000}};

TEST(MaskKernels, CountTiesByRankAndSelectThoseThatStay) {
  for_each_score([](auto score) {
    using Score = decltype(score);
    for (const Index count : {1, 7, 8, 9, 100, 1003})
      for (const Place& place : kPlaces) {
        const std::vector<Score> values = scores<Score>(count, 92);
        Guarded<Score> read(values, Flush::end);
        TieArgs<Score> ties{.scores = read.data(),
                            .count = static_cast<std::uint64_t>(count),
                            .array = place.array,
                            .first = place.first,
                            .cols = place.cols,
                            .threshold = magnitude_bits(Score{0.5}),
                            .rank = 0};
        const auto is_tie = [&](Index i) { return magnitude_bits(values[i]) == ties.threshold; };
        const auto rank = [&](Index i) {
          const std::uint64_t at = place.first + static_cast<std::uint64_t>(i);
          return tie_rank(place.array, at / place.cols, at % place.cols);
        };
        std::vector<std::uint64_t> ranks(kTieRanks), expected_ranks = ranks;
        kernels().mask_count_ranks(ties, ranks.data());
        Index last_tie = -1;
        for (Index i = 0; i < count; ++i)
          if (is_tie(i)) ++expected_ranks[rank(i)], last_tie = i;
        ASSERT_EQ(ranks, expected_ranks);

        ties.rank = last_tie < 0 ? 7 : rank(last_tie);
        ASSERT_EQ(kernels().mask_count_at_rank(ties), expected_ranks[ties.rank]);

        for (const bool all_ties : {true, false})
          for (const std::uint64_t at_rank : {std::uint64_t{0}, std::uint64_t{1}, expected_ranks[ties.rank]}) {
            const std::size_t bytes = static_cast<std::size_t>(count + 7) / 8;
            std::vector<std::uint8_t> expected(bytes);
            std::uint64_t kept = 0;
            for (Index i = 0; i < count; ++i) {
              bool stays = magnitude_bits(values[i]) > ties.threshold || (all_ties && is_tie(i));
              if (!all_ties && is_tie(i)) {
                const bool counts = rank(i) == ties.rank && kept < at_rank;
                stays = rank(i) < ties.rank || counts;
                kept += counts;
              }
              expected[i / 8] = static_cast<std::uint8_t>(expected[i / 8] | unsigned{stays} << i % 8);
            }
            Guarded<std::uint8_t> bits(std::vector<std::uint8_t>(bytes, 0xff), Flush::end);
            ASSERT_EQ(kernels().mask_select(SelectArgs<Score>{ties, all_ties, at_rank, bits.data()}), kept);
            ASSERT_TRUE(std::equal(expected.begin(), expected.end(), bits.data()))
                << count << " scores, " << at_rank << " at rank";
            ASSERT_TRUE(bits.untouched());
          }
      }
  });
}

// One column, so that many scores share a rank: the first ones stay.
TEST(MaskKernels, KeepTheFirstOfTiesThatShareARank) {
  for_each_score([](auto score) {
    using Score = decltype(score);
    constexpr std::uint64_t kCount = 3 * kTieRanks;
    const std::vector<Score> values(kCount, Score{-2});
    TieArgs<Score> ties{values.data(), kCount, 0, 0, kCount, magnitude_bits(Score{2}), 40000};
    const std::uint64_t at_rank = kernels().mask_count_at_rank(ties);
    ASSERT_GE(at_rank, 2u);
    std::vector<std::uint8_t> bits(kCount / 8);
    ASSERT_EQ(kernels().mask_select(SelectArgs<Score>{ties, false, at_rank - 1, bits.data()}), at_rank - 1);
    std::uint64_t met = 0;
    for (std::uint64_t i = 0; i < kCount; ++i) {
      const std::uint32_t rank = tie_rank(0, 0, i);
      met += rank == ties.rank;
      ASSERT_EQ((bits[i / 8] >> i % 8 & 1) != 0, rank < ties.rank || (rank == ties.rank && met < at_rank)) << "score " << i;
    }
  });
}

}  // namespace
}  // namespace sparse_engine
