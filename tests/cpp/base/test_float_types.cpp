// What weights are kept as: every value there is, every place where rounding turns, and what does not fit.
#include "base/float_types.hpp"

#include <cfenv>
#include <cmath>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

float of_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }

// binary16 by arithmetic on doubles, which holds all of it.
double half_value(std::uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31);
  const double fraction = bits & 0x3ff, sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31) return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

TEST(FloatTypes, KeepEveryValueThatTheyHave) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const BFloat16 b{static_cast<std::uint16_t>(bits)};
    const Float16 h{static_cast<std::uint16_t>(bits)};
    ASSERT_EQ(std::bit_cast<std::uint32_t>(widened(b)), bits << 16);
    if (std::isnan(half_value(bits))) {
      ASSERT_TRUE(std::isnan(widened(h)));
    } else {
      ASSERT_EQ(widened(h), half_value(bits)) << bits;
      ASSERT_EQ(std::signbit(widened(h)), (bits & 0x8000) != 0);
      ASSERT_EQ(rounded<Float16>(widened(h)).bits, bits);
    }
    if (!std::isnan(widened(b))) {
      ASSERT_EQ(rounded<BFloat16>(widened(b)).bits, bits);
    }
  }
}

// Between two neighbours: below the middle to the lower, above it to the upper, at it to the even one, whatever the mode.
template <class Value>
void expect_nearest(std::uint32_t last_finite, const auto& value) {
  for (std::uint32_t bits = 0; bits <= last_finite; ++bits) {
    const double low = value(bits), high = bits == last_finite ? 2 * low - value(bits - 1) : value(bits + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(middle, (low + high) / 2) << "the middle of neighbours is a float32";
    for (const std::uint32_t sign : {0u, 0x8000u}) {
      const float s = sign ? -1.0f : 1.0f;
      const std::uint32_t even = bits % 2 == 0 ? bits : bits + 1;
      ASSERT_EQ(rounded<Value>(s * std::nextafter(middle, 0.0f)).bits, bits | sign);
      ASSERT_EQ(rounded<Value>(s * middle).bits, even | sign);
      ASSERT_EQ(rounded<Value>(s * std::nextafter(middle, kInf)).bits, (bits + 1) | sign);
    }
  }
}

TEST(FloatTypes, RoundToTheNearestAndTiesToEvenInEveryRoundingMode) {
  const auto half = [](std::uint32_t bits) { return half_value(bits); };
  const auto bfloat = [](std::uint32_t bits) { return double{of_bits(bits << 16)}; };
  for (const int mode : {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
    std::fesetround(mode);
    expect_nearest<Float16>(0x7bff, half);  // the upper neighbour of the last is infinity
    if (!kSlow || mode == FE_UPWARD) expect_nearest<BFloat16>(0x7f7e, bfloat);
    std::fesetround(FE_TONEAREST);
  }
  EXPECT_EQ(rounded<BFloat16>(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(rounded<Float16>(65519.996f).bits, 0x7bff);
  EXPECT_EQ(rounded<Float16>(65520.0f).bits, 0x7c00);
  EXPECT_EQ(rounded<Float16>(-0x1p-25f).bits, 0x8000) << "half of the smallest goes to zero, which is even";
  EXPECT_EQ(rounded<Float16>(std::nextafter(0x1p-25f, 1.0f)).bits, 1);
}

TEST(FloatTypes, TurnNoNaNIntoANumber) {
  for (const std::uint32_t fraction : {0x1u, 0x1fffu, 0x2000u, 0x400000u, 0x7fffffu})
    for (const std::uint32_t sign : {0u, 0x80000000u}) {
      const float nan = of_bits(sign | 0x7f800000 | fraction);
      EXPECT_TRUE(std::isnan(widened(rounded<BFloat16>(nan)))) << fraction;
      EXPECT_TRUE(std::isnan(widened(rounded<Float16>(nan)))) << fraction;
    }
  EXPECT_EQ(widened(rounded<BFloat16>(-kInf)), -kInf);
  EXPECT_EQ(widened(rounded<Float16>(-kInf)), -kInf);
}

TEST(FloatTypes, KnowZerosAndFiniteNumbersByTheirBits) {
  for (const float v : {0.0f, -0.0f}) EXPECT_TRUE(is_zero(v));
  for (const float v : {0x1p-149f, -0x1p-149f, kNaN, kInf}) EXPECT_FALSE(is_zero(v));
  for (const float v : {0.0f, std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()})
    EXPECT_TRUE(is_finite(v));
  for (const float v : {kInf, -kInf, kNaN, -kNaN}) EXPECT_FALSE(is_finite(v));
}

// The largest of a row comes back as about itself, every multiple is a float32, and what was rounded once stays.
TEST(FloatTypes, ScaleRowsOfInt8SoThatRoundingAgainChangesNothing) {
  Random random(171);
  for (int trial = 0; trial < 20'000; ++trial) {
    const auto largest = static_cast<float>((random.unit() + 0.5) * std::exp2(static_cast<double>(random.between(-140, 120))));
    const float scale = row_scale(largest);
    ASSERT_GE(scale, largest / 127);
    ASSERT_LE(scale, largest / 127 * (1 + 0x1p-14f) + 0x1p-141f);
    for (const int multiple : {1, 2, 63, 100, 127}) {
      const double exact = double{scale} * multiple;
      ASSERT_EQ(static_cast<float>(exact), exact);
      ASSERT_EQ(in_units_of(scale, static_cast<float>(exact)), multiple);
      ASSERT_EQ(in_units_of(scale, -static_cast<float>(exact)), -multiple);
    }
    // A row that was rounded has a largest of as many units as before: the same scale again.
    const int units = in_units_of(scale, largest);
    if (largest > 0x1p-120f) {
      ASSERT_GE(units, 126);
      const float again = row_scale(scale * static_cast<float>(units));
      if (units == 127) {
        ASSERT_EQ(again, scale);
      }
    }
  }
}

// Rounded up, the scale of the largest float would make 127 units infinite.
TEST(FloatTypes, ScaleTheLargestFloatsOfARowOfInt8WithoutOverflow) {
  const float most = std::numeric_limits<float>::max();
  for (const float largest : {most, std::nextafter(most, 0.0f), 0x1.fffep127f, 0x1.ffep127f, 0x1.ffp127f, 0x1p127f})
    for (const int mode : {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
      std::fesetround(mode);
      const float scale = row_scale(largest);
      const int units = in_units_of(scale, largest);
      std::fesetround(FE_TONEAREST);
      EXPECT_EQ(units, 127);
      EXPECT_TRUE(is_finite(127 * scale));
      EXPECT_NEAR(127 * double{scale} / double{largest}, 1, 0x1p-14);
      EXPECT_EQ(row_scale(127 * scale), scale);
    }
}

TEST(FloatTypes, HaveUnitsForRowsOfZerosAndForWhatLiesBeyondTheScale) {
  EXPECT_EQ(row_scale(0), 0);
  EXPECT_EQ(in_units_of(0, 5), 0);
  EXPECT_EQ(in_units_of(1, 1000), 127);
  EXPECT_EQ(in_units_of(1, -1000), -127);
  EXPECT_EQ(in_units_of(2, 3), 2) << "halves away from zero";
  EXPECT_EQ(in_units_of(2, -3), -2);
}

TEST(FloatTypes, RefuseWhatWouldBecomeAnotherKindOfNumberAndNameIt) {
  const float large = std::numeric_limits<float>::max();
  EXPECT_REFUSED(check_fits(ValueType::float16, 65520.0f, "weights[", 3, "]"), "weights[3] = 65520 does not fit float16");
  EXPECT_REFUSED(check_fits(ValueType::bfloat16, large, "w"), "does not fit bfloat16; keep the weights as float32");
  EXPECT_REFUSED(check_fits(ValueType::int8, kInf, "w"), "does not fit int8");
  EXPECT_REFUSED(check_fits(ValueType::int8, kNaN, "w"), "does not fit int8");
  for (const ValueType type : {ValueType::float32, ValueType::bfloat16, ValueType::float16})
    for (const float v : {kInf, -kInf, kNaN, 0.0f, 65504.0f})
      EXPECT_EQ(refusal([&] { check_fits(type, v, "w"); }), "(accepted)");
  EXPECT_EQ(refusal([&] { check_fits(ValueType::float32, large, "w"); }), "(accepted)");
}

TEST(FloatTypes, AreHandedOnByNameWhereTheListHasThem) {
  const auto bytes = [](auto types, ValueType type) {
    std::size_t found = 0;
    with_value_type(types, type, [&]<class Value>() {
      EXPECT_EQ(kValueType<Value>, type);
      found = sizeof(Value);
    });
    return found;
  };
  EXPECT_EQ(bytes(CsrValues{}, ValueType::float32), 4u);
  EXPECT_EQ(bytes(CsrValues{}, ValueType::bfloat16), 2u);
  EXPECT_EQ(bytes(CsrValues{}, ValueType::float16), 2u);
  EXPECT_EQ(bytes(BitmaskValues{}, ValueType::int8), 1u);
  EXPECT_REFUSED(bytes(TypeList<float, BFloat16, Float16>{}, ValueType::int8),
                 "this format keeps float32, bfloat16 or float16, not int8; BitmaskMatrix does");
  EXPECT_STREQ(name_of(ValueType::int8), "int8");
  EXPECT_STREQ(name_of(ValueType::bfloat16), "bfloat16");
}

}  // namespace
}  // namespace sparse_engine
