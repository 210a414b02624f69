// Eight lanes on every instruction set, one vector or two.
#include <cmath>

#include "kernels/simd/probe.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Simd8, AddsMultipliesAndSumsEightLanes) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    const std::vector<float> a = integers(8, 161), b = integers(8, 162);
    Guarded<float> out(std::vector<float>(24, kNaN), Flush::end), from(a, Flush::end);
    p.eight(from.data(), b.data(), out.data());
    float sum = 0;
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(out.data()[i], a[i] + b[i]);
      EXPECT_EQ(out.data()[8 + i], a[i] * b[i] + a[i]);
      EXPECT_EQ(out.data()[16 + i], a[0]);
      sum += a[i];
    }
    EXPECT_TRUE(out.untouched());
    EXPECT_EQ(p.sum8(from.data()), sum);
    for (int lane = 0; lane < 8; ++lane) {
      float one[8] = {};
      one[lane] = 3;
      EXPECT_EQ(p.sum8(one), 3) << "lane " << lane;
    }
  });
}

TEST(Simd8, FindsWhatIsNotFiniteInAnyLane) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    const float large = std::numeric_limits<float>::max();
    std::vector<float> v = {large, -large, large, large, 0, -0.0f, 0x1p-149f, large};  // their sum is infinite
    EXPECT_TRUE(p.all_finite(v.data()));
    for (int lane = 0; lane < 8; ++lane)
      for (const float strange : {kInf, -kInf, kNaN, -kNaN}) {
        std::vector<float> one = v;
        one[lane] = strange;
        EXPECT_FALSE(p.all_finite(one.data())) << strange << " in lane " << lane;
      }
  });
}

TEST(Simd8, TransposesFourAndEightRowsOfFourBetweenAnyStrides) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    for (const int rows : {4, 8})
      for (const std::int64_t source_stride : {4, 7, -9})
        for (const std::int64_t target_stride : {8, 11}) {
          const std::vector<float> values = reals(200, 163);
          const float* const source = values.data() + 100;
          Guarded<float> target(std::vector<float>(3 * target_stride + rows, 77.0f), Flush::end);
          (rows == 4 ? p.transpose4 : p.transpose8)(source, source_stride, target.data(), target_stride);
          std::vector<float> expected(3 * target_stride + rows, 77.0f);
          for (int r = 0; r < rows; ++r)
            for (int c = 0; c < 4; ++c) expected[c * target_stride + r] = source[r * source_stride + c];
          expect_same_bits(target.span(), expected);
          EXPECT_TRUE(target.untouched());
        }
  });
}

TEST(Simd8, PicksOneOfFourInEachHalfTwoBitsAtATime) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    const std::vector<float> x = reals(8, 164);
    Random random(165);
    for (int trial = 0; trial < 50; ++trial) {
      std::vector<std::uint32_t> picks(8);
      for (std::uint32_t& word : picks) word = static_cast<std::uint32_t>(random.bits());
      for (int next = 0; next < 16; ++next) {
        float out[8];
        p.pick_in_halves(x.data(), picks.data(), next, out);
        for (int lane = 0; lane < 8; ++lane) ASSERT_EQ(out[lane], x[lane / 4 * 4 + (picks[lane] >> 2 * next & 3)]);
      }
    }
  });
}

// What lies above the eight numbers is another's.
TEST(Simd8, PicksOneOfEightInEachLaneThreeBitsEach) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    const std::vector<float> x = reals(8, 166);
    Random random(167);
    for (int trial = 0; trial < 500; ++trial) {
      const auto picks = static_cast<std::uint32_t>(random.bits());
      float out[8];
      p.pick_of_eight(x.data(), picks, out);
      for (int lane = 0; lane < 8; ++lane) ASSERT_EQ(out[lane], x[picks >> 3 * lane & 7]);
    }
  });
}

}  // namespace
}  // namespace sparse_engine
