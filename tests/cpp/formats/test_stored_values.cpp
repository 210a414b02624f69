// Weights in every type that some format keeps: what comes back is what the type makes of them, row by row.
#include "formats/stored_values.hpp"

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(StoredValues, KeepWhatEveryTypeMakesOfAWeightAndZerosBehindThem) {
  const std::vector<float> weights = {1.5f, -300.25f, 0.001f, 7, -7, 3.14159f};
  const std::vector<Index> starts = {0, 3, 3, 6};
  for_each_type(BitmaskValues{}, [&]<class Value>() {
    StoredValues<BitmaskValues> values(kValueType<Value>);
    EXPECT_EQ(values.type(), kValueType<Value>);
    values.reserve(6);
    for (std::size_t row = 0; row + 1 < starts.size(); ++row) {
      values.begin_row(weights.data() + starts[row], starts[row + 1] - starts[row]);
      for (Index i = starts[row]; i < starts[row + 1]; ++i) values.push(weights[i]);
    }
    values.seal(6);
    const std::vector<float> back = values.widened_all(starts);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if constexpr (std::is_same_v<Value, std::int8_t>) {
        const float scale = row_scale(i < 3 ? 300.25f : 7.0f);
        EXPECT_EQ(back[i], static_cast<float>(in_units_of(scale, weights[i])) * scale);
      } else {
        EXPECT_EQ(back[i], widened(rounded<Value>(weights[i])));
      }
    }
    EXPECT_EQ(values.scales() != nullptr, (std::is_same_v<Value, std::int8_t>));
    values.visit([](const auto& array) {
      ASSERT_EQ(array.size(), 6u + kSlackElements);
      for (std::size_t i = 6; i < array.size(); ++i) EXPECT_TRUE(is_zero(widened(array[i])));
    });
    EXPECT_GE(values.bytes(), static_cast<Index>((6 + kSlackElements) * sizeof(Value)));
  });
}

TEST(StoredValues, SayWhatBecomesZero) {
  StoredValues<BitmaskValues> values(ValueType::int8), halves(ValueType::float16), floats;
  const float row[] = {127, 1};
  values.begin_row(row, 2);
  EXPECT_TRUE(values.rounds_to_zero(0.49f));
  EXPECT_FALSE(values.rounds_to_zero(0.51f));
  EXPECT_TRUE(halves.rounds_to_zero(0x1p-26f));
  EXPECT_FALSE(floats.rounds_to_zero(0x1p-149f));
}

TEST(StoredValues, RefuseATypeThatTheFormatDoesNotKeep) {
  using Few = StoredValues<TypeList<float, BFloat16>>;
  EXPECT_REFUSED(Few(ValueType::int8), "this format keeps float32 or bfloat16, not int8; BitmaskMatrix does");
}

}  // namespace
}  // namespace sparse_engine
