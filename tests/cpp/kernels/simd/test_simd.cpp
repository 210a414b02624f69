// The operations that kernels are written in, on every instruction set: each does lane by lane what its name says.
#include <bit>
#include <cmath>

#include "base/float_types.hpp"
#include "kernels/simd/probe.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

constexpr int kMost = 16;  // lanes

// Ordinary numbers with zeros of both signs, infinities and NaN among them.
std::vector<float> hostile(std::uint64_t seed) {
  std::vector<float> values = reals(kMost, seed);
  Random random(seed);
  for (const float v : {0.0f, -0.0f, kInf, -kInf, kNaN, 0x1p-140f}) values[random.bits() % kMost] = v;
  return values;
}

void expect_same(float actual, float expected, const char* what, int lane) {
  const auto bits = [](float v) { return std::bit_cast<std::uint32_t>(v); };
  const bool same = std::isnan(expected) ? std::isnan(actual) : bits(actual) == bits(expected);
  EXPECT_TRUE(same) << what << ", lane " << lane << ": " << actual << ", not " << expected;
}

TEST(Simd, LoadsStoresStreamsAndSplatsEveryLaneAndNoMore) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    const std::vector<float> a = reals(p.lanes, 151);
    for (const Flush side : {Flush::end, Flush::beginning}) {
      Guarded<float> from(a, side), to(std::vector<float>(p.lanes, kNaN), side),
          streamed(std::vector<float>(p.lanes, kNaN), side);
      p.copy(from.data(), to.data());
      expect_same_bits(to.span(), a);
      p.stream(from.data(), streamed.data());
      expect_same_bits(streamed.span(), a);
      p.splat(a[1], to.data());
      expect_same_bits(to.span(), std::vector<float>(p.lanes, a[1]));
      Guarded<float> four{std::span<const float>(a).first(4), side}, out(std::vector<float>(4 * p.lanes, kNaN), side);
      p.splat_of_four(four.data(), out.data());
      for (int i = 0; i < 4 * p.lanes; ++i) ASSERT_EQ(out.data()[i], a[i / p.lanes]);
      EXPECT_TRUE(to.untouched() && streamed.untouched() && out.untouched());
    }
  });
}

TEST(Simd, TakesEverySecondFloatAndReadsNoneBehindTheLast) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    for (const Flush side : {Flush::end, Flush::beginning})
      for (const int lanes : {4, p.lanes}) {
        const std::vector<float> a = reals(2 * lanes - 1, 158);
        Guarded<float> from(a, side), to(std::vector<float>(lanes, kNaN), side);
        (lanes == 4 && p.lanes != 4 ? p.evens4 : p.evens)(from.data(), to.data());
        for (int i = 0; i < lanes; ++i) ASSERT_EQ(to.data()[i], a[2 * i]);
        EXPECT_TRUE(to.untouched());
      }
  });
}

TEST(Simd, ComputesEveryLaneAlone) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
      const std::vector<float> a = hostile(3 * seed), b = hostile(3 * seed + 1), c = hostile(3 * seed + 2);
      float out[6 * kMost];
      p.arithmetic(a.data(), b.data(), out);
      for (int i = 0; i < p.lanes; ++i) {
        const float x = a[i], y = b[i];
        expect_same(out[i], x + y, "add", i);
        expect_same(out[p.lanes + i], x - y, "sub", i);
        expect_same(out[2 * p.lanes + i], x * y, "mul", i);
        expect_same(out[3 * p.lanes + i], x / y, "div", i);
        if (std::isnan(y)) {
          expect_same(out[4 * p.lanes + i], y, "max", i);
          expect_same(out[5 * p.lanes + i], y, "min", i);
        } else if (!std::isnan(x) && x != y) {
          expect_same(out[4 * p.lanes + i], x > y ? x : y, "max", i);
          expect_same(out[5 * p.lanes + i], x < y ? x : y, "min", i);
        }
      }
      p.fma(a.data(), b.data(), c.data(), out);
      for (int i = 0; i < p.lanes; ++i) {
        const volatile float product = a[i] * b[i];
        const float expected = p.fuses ? std::fma(a[i], b[i], c[i]) : product + c[i];
        expect_same(out[i], expected, "fma", i);
        expect_same(p.fma_scalar(a[i], b[i], c[i]), expected, "the scalar fma", i);
      }
      p.bits(a.data(), b.data(), out);
      for (int i = 0; i < p.lanes; ++i) {
        const auto x = std::bit_cast<std::uint32_t>(a[i]), y = std::bit_cast<std::uint32_t>(b[i]);
        ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), x & y);
        ASSERT_EQ(std::bit_cast<std::uint32_t>(out[p.lanes + i]), x | y);
      }
      p.low_bits_to_exponent(a.data(), out);
      for (int i = 0; i < p.lanes; ++i)
        ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), std::bit_cast<std::uint32_t>(a[i]) << 23);
      p.by_sign(a.data(), b.data(), c.data(), out);
      for (int i = 0; i < p.lanes; ++i) expect_same(out[i], std::signbit(a[i]) ? b[i] : c[i], "by_sign", i);
    }
  });
}

TEST(Simd, PicksLanesByNumberWhereItSaysSo) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    EXPECT_EQ(p.picks, p.lanes >= 8);
    if (!p.picks) return;
    const std::vector<float> a = reals(p.lanes, 152);
    Random random(153);
    for (int trial = 0; trial < 100; ++trial) {
      std::vector<std::uint32_t> lanes(p.lanes);
      for (std::uint32_t& lane : lanes) lane = static_cast<std::uint32_t>(random.between(0, p.lanes - 1));
      std::vector<float> out(p.lanes);
      p.pick(a.data(), lanes.data(), out.data());
      for (int i = 0; i < p.lanes; ++i) ASSERT_EQ(out[i], a[lanes[i]]);
    }
  });
}

TEST(Simd, HasFourLanesThatAddTransposeGatherAndLeaveOut) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    const std::vector<float> a = integers(16, 154), b = integers(16, 155);
    float out[16];
    p.four(a.data(), b.data(), out);
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(out[i], a[i] + b[i]);
      EXPECT_EQ(out[4 + i], a[i] * b[i] + a[i]);
      EXPECT_EQ(out[8 + i], a[0]);
      EXPECT_EQ(out[12 + i], 0.0f);
    }
    p.transpose(a.data(), out);
    for (int i = 0; i < 16; ++i) EXPECT_EQ(out[i], a[i % 4 * 4 + i / 4]);
    const std::vector<float> far = reals(70'000, 156);
    Guarded<float> memory(far, Flush::end);  // single floats are read
    const std::uint32_t at[] = {69'999, 0, 65'536, 69'998};
    p.gather4(memory.data(), at, out);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(out[i], far[at[i]]);
    EXPECT_EQ(p.sum4(a.data()), a[0] + a[1] + a[2] + a[3]);
    const float all[] = {1, kNaN, kInf, 4};
    for (std::int64_t count = 0; count <= 4; ++count) {
      p.first_lanes(all, count, out);
      for (int i = 0; i < 4; ++i) expect_same(out[i], i < count ? all[i] : 0.0f, "first_lanes", i);
    }
  });
}

TEST(Simd, WidensEveryValueThatIsKeptNarrower) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
      const BFloat16 b{static_cast<std::uint16_t>(bits)};
      const Float16 h{static_cast<std::uint16_t>(bits)};
      expect_same(p.widen_bfloat16(b), widened(b), "bfloat16", static_cast<int>(bits));
      expect_same(p.widen_float16(h), widened(h), "float16", static_cast<int>(bits));
      if (HasFailure()) return;
    }
    for (int v = -128; v < 128; ++v) EXPECT_EQ(p.widen_int8(static_cast<std::int8_t>(v)), v);
  });
}

TEST(Simd, LoadsFourAndEightValuesThatAreKeptNarrower) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    std::vector<BFloat16> b(8);
    std::vector<Float16> h(8);
    for (std::uint32_t first = 0; first < 65536; first += 8) {
      for (std::uint32_t i = 0; i < 8; ++i) {
        b[i] = {static_cast<std::uint16_t>(first + i)};
        h[i] = {static_cast<std::uint16_t>(first + i)};
      }
      float bfloats[12], halves[12];
      p.load_bfloat16(b.data(), bfloats);
      p.load_float16(h.data(), halves);
      for (int i = 0; i < 12; ++i) {
        const int lane = i < 4 ? i : i - 4;
        expect_same(bfloats[i], widened(b[lane]), "bfloat16", i);
        expect_same(halves[i], widened(h[lane]), "float16", i);
      }
      if (HasFailure()) return;
    }
  });
}

}  // namespace
}  // namespace sparse_engine
