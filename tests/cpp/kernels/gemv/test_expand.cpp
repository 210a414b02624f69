// Eight columns of a bitmask as eight lanes: seen through products of one row of eight columns with x a unit vector, which
// make every lane of every mask visible, to the last bit.
#include <bit>

#include "kernels/gemv/few_columns.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// One row, the columns of `mask` moved up by `first` columns.
template <class Value>
float product_with(unsigned mask, Index first, const Value* values, const float* scales, const std::vector<float>& x) {
  const std::int64_t starts[] = {0, std::popcount(mask)};
  const std::uint64_t masks[] = {std::uint64_t{mask} << first};
  float y = kNaN;
  kernels().bitmask_gemv(BitmaskArgs<Value>{starts,
                                            masks,
                                            values,
                                            static_cast<std::int64_t>(x.size()),
                                            {.rows = 1,
                                             .columns = 1,
                                             .x = x.data(),
                                             .bias = nullptr,
                                             .residual = nullptr,
                                             .y = &y,
                                             .y_row_stride = 1,
                                             .y_column_stride = 1,
                                             .activation = Activation::none,
                                             .scales = scales}});
  return y;
}

template <class Value>
void expect_every_mask_expands(const std::vector<Value>& eight, const float* scales) {
  // What follows the values is read too, and must not show.
  std::vector<Value> values(eight.begin(), eight.end());
  values.insert(values.end(), kSlackElements, eight[3]);
  for_each_isa([&] {
    for (unsigned mask = 0; mask < 256; ++mask)
      for (Index lane = 0; lane < 8; ++lane)
        for (const Index first : {0, 8, 40, 56}) {
          SCOPED_TRACE("mask " + std::to_string(mask) + ", lane " + std::to_string(lane) + ", column " + std::to_string(first));
          const bool stored = (mask >> lane & 1) != 0;
          const float expected = stored ? widened(eight[std::popcount(mask & ((1u << lane) - 1))]) : 0.0f;
          std::vector<float> x(64);
          x[first + lane] = 1;
          ASSERT_EQ(product_with(mask, first, values.data(), scales, x), expected);
          // Where no weight is, x does not matter: neither infinities nor NaN.
          std::vector<float> hostile(64, lane % 2 == 0 ? kInf : kNaN);
          for (Index i = 0; i < 8; ++i)
            if ((mask >> i & 1) != 0) hostile[first + i] = i == lane ? 1 : 0;
          ASSERT_EQ(product_with(mask, first, values.data(), scales, hostile), expected);
        }
  });
}

TEST(Expand, PutsEveryWeightInItsLaneAndZerosElsewhereForAllMasks) {
  const std::vector<float> eight = {1.5f, -2.25f, 3, -4.125f, 5, 0x1p-20f, -7, 8.5f};
  std::vector<BFloat16> bfloats;
  std::vector<Float16> halves;
  for (const float v : eight) {
    bfloats.push_back(rounded<BFloat16>(v));
    halves.push_back(rounded<Float16>(v));
  }
  const float one = 1;
  expect_every_mask_expands(eight, nullptr);
  expect_every_mask_expands(bfloats, nullptr);
  expect_every_mask_expands(halves, nullptr);
  expect_every_mask_expands(std::vector<std::int8_t>{1, -2, 127, -127, 5, 64, -7, -128}, &one);
}

}  // namespace
}  // namespace sparse_engine
