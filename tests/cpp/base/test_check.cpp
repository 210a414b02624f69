#include "base/check.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <locale>
#include <string>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

template <class... Parts>
std::string message(const Parts&... parts) {
  return refusal([&] { check(false, parts...); });
}

TEST(Check, SaysNothingWhenAllIsWell) { EXPECT_NO_THROW(check(true, "never said")); }

TEST(Check, JoinsWordsAndNumbersOfEveryType) {
  EXPECT_EQ(message("a = ", 1, ", b = ", std::string("two"), ", c = ", std::string_view("three")), "a = 1, b = two, c = three");
  EXPECT_EQ(message(std::int8_t{-7}, " ", std::uint8_t{200}), "-7 200") << "small integers are numbers too";
  EXPECT_EQ(message(std::numeric_limits<std::int64_t>::min()), "-9223372036854775808");
  EXPECT_EQ(message(std::numeric_limits<std::uint64_t>::max()), "18446744073709551615");
}

TEST(Check, WritesTheShortestDecimalThatReadsBack) {
  EXPECT_EQ(message(0.1f), "0.1");
  EXPECT_EQ(message(-70000.0f), "-70000");
  EXPECT_EQ(message(3e38f), "3e+38");
  EXPECT_EQ(message(0.1), "0.1");
  EXPECT_EQ(message(std::numeric_limits<double>::denorm_min()), "5e-324");
  EXPECT_EQ(message(-std::numeric_limits<double>::max()), "-1.7976931348623157e+308");
  EXPECT_EQ(message(std::numeric_limits<float>::infinity()), "inf");
}

struct Grouping : std::numpunct<char> {
  char do_thousands_sep() const override { return '\''; }
  std::string do_grouping() const override { return "\3"; }
  char do_decimal_point() const override { return ','; }
};

TEST(Check, WritesNumbersAlikeUnderAnyLocaleOfTheProgram) {
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Grouping));
  const std::string said = message(1234567, " and ", 0.5f);
  const std::string refused = refusal([] { Csr::from_dense(nullptr, -1234567, 1, ValueType::float32); });
  std::locale::global(before);
  EXPECT_EQ(said, "1234567 and 0.5");
  EXPECT_TRUE(mentions(refused, "(-1234567, 1)")) << refused;
}

TEST(Check, RefusesSizesThatDoNotFit) {
  constexpr std::int64_t kLarge = std::int64_t{1} << 62;
  EXPECT_EQ(checked_mul(3, 4, "size"), 12);
  EXPECT_EQ(checked_add(3, 4, "size"), 7);
  EXPECT_REFUSED(checked_mul(kLarge, 2, "size"), "size: 4611686018427387904 × 2 does not fit 63 bits");
  EXPECT_REFUSED(checked_add(kLarge, kLarge, "size"), "size: 4611686018427387904 + 4611686018427387904 does not fit");
}

}  // namespace
}  // namespace sparse_engine
