// Sine and cosine: near multiples of π/2, where most of x cancels, where one way of reduction gives over to the other, and far
// out. Floats of every size are swept with the other activations.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

std::vector<float> wide(const std::vector<float>& v, Activation activation) {
  return multiplied(Weights{1, 1, {1}}.csr(), v, static_cast<Index>(v.size()), {}, activation);
}

void expect_within_ulps(const std::vector<float>& v) {
  for (const Activation activation : {Activation(Activation::sin), Activation(Activation::cos)})
    for_each_isa([&] {
      const std::vector<float> y = wide(v, activation);
      for (std::size_t i = 0; i < v.size(); ++i) {
        const double exact = activated(v[i], activation);
        ASSERT_LE(std::abs(y[i] - exact), activation_ulps(activation) * ulp(exact)) << activation << " of " << v[i];
      }
    });
}

TEST(Trigonometric, IsWithinItsUnitsInTheLastPlaceBesideEveryMultipleOfAQuarterTurn) {
  const double quarter = 1.5707963267948966;
  std::vector<float> v;
  for (Index n = 0; n < 2'000; ++n) {
    float x = static_cast<float>(static_cast<double>(n) * quarter);
    for (int i = 0; i < 3; ++i) x = std::nextafter(x, -kInf);
    for (int i = 0; i < 7; ++i, x = std::nextafter(x, kInf)) {
      v.push_back(x);
      v.push_back(-x);
    }
  }
  expect_within_ulps(v);
}

TEST(Trigonometric, IsWithinItsUnitsInTheLastPlaceWhereTheReductionChanges) {
  std::vector<float> v;
  float x = 1600.0f;
  for (int i = 0; i < 100; ++i) x = std::nextafter(x, -kInf);
  for (int i = 0; i < 200; ++i, x = std::nextafter(x, kInf)) v.push_back(x);
  expect_within_ulps(v);
}

TEST(Trigonometric, IsWithinItsUnitsInTheLastPlaceFarOut) {
  Random random(3);
  std::vector<float> v = {16367173.0f * 0x1p72f, 0x1.fffffep127f, 0x1p127f, 0x1p24f, 0x1p26f};  // the first: next to a multiple
  for (std::uint32_t exponent = 137; exponent < 255; ++exponent)
    for (int i = 0; i < 200; ++i)
      v.push_back(std::bit_cast<float>(exponent << 23 | static_cast<std::uint32_t>(random.bits() & 0x7fffff)));
  expect_within_ulps(v);
}

TEST(Trigonometric, OfInfinityAndNaNIsNaNAndOfZeroIsExact) {
  for_each_isa([&] {
    for (const Activation activation : {Activation(Activation::sin), Activation(Activation::cos)})
      for (const float y : wide({kInf, -kInf, kNaN, -kNaN}, activation)) EXPECT_TRUE(std::isnan(y));
    EXPECT_EQ(std::bit_cast<std::uint32_t>(wide({0.0f}, Activation::sin)[0]), 0u);
    EXPECT_EQ(wide({0.0f, -0.0f}, Activation::cos), (std::vector<float>{1.0f, 1.0f}));
  });
}

TEST(Trigonometric, ALaneDoesNotDependOnItsNeighbours) {
  std::vector<float> v(64, 0.5f);
  for_each_isa([&] {
    const float alone = wide(v, Activation::sin)[1];
    v[0] = 1e30f;
    EXPECT_EQ(wide(v, Activation::sin)[1], alone);
    v[0] = 0.5f;
  });
}

}  // namespace
}  // namespace sparse_engine
