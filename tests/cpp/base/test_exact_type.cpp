// Which type is found for values of each, and that bits are kept.
#include "base/exact_type.hpp"

#include <limits>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

template <class Value>
std::vector<float> every_value() {
  std::vector<float> values;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) values.push_back(widened(Value{static_cast<std::uint16_t>(bits)}));
  return values;
}

TEST(ExactType, IsTheOneThatValuesComeFrom) {
  std::vector<float> brains = every_value<BFloat16>(), halves = every_value<Float16>();
  // Rounding makes NaN quiet: what is signalling keeps its bits as float32 alone.
  const auto signals = [](float v) { return std::isnan(v) && (std::bit_cast<std::uint32_t>(v) & 0x400000) == 0; };
  std::erase_if(brains, signals);
  std::erase_if(halves, signals);
  EXPECT_EQ(exact_type(brains), ValueType::bfloat16);
  EXPECT_EQ(exact_type(halves), ValueType::float16);
  for (const float v : brains) ASSERT_TRUE(holds_exactly<BFloat16>(v)) << v;
  for (const float v : halves) ASSERT_TRUE(holds_exactly<Float16>(v)) << v;
  brains.push_back(1.0f + 0x1p-10f);
  EXPECT_EQ(exact_type(brains), ValueType::float32) << "together they need both exponents and fractions";
}

TEST(ExactType, IsFloat32ForWhatRoundingWouldChange) {
  for (const float v : {1.0f + 0x1p-23f, 0.1f, 65536.0f + 16.0f, 0x1.002p-14f, std::numeric_limits<float>::denorm_min()}) {
    EXPECT_EQ(exact_type(std::vector{1.0f, v}), ValueType::float32) << v;
  }
  EXPECT_EQ(exact_type(std::vector{-0.0f, std::numeric_limits<float>::infinity()}), ValueType::bfloat16);
  EXPECT_EQ(exact_type(std::vector{std::bit_cast<float>(0x7fc00001u)}), ValueType::float32) << "a NaN with a payload";
  EXPECT_EQ(exact_type({}), ValueType::bfloat16);
}

}  // namespace
}  // namespace sparse_engine
