// The activations themselves: W is one weight a row or X one element a column, so that what they see is known to the last bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// 1 · v for every v: of whole vectors, of eight columns, and one column at a time.
std::vector<float> wide(const std::vector<float>& v, Activation activation) {
  return multiplied(Weights{1, 1, {1}}.csr(), v, static_cast<Index>(v.size()), {}, activation);
}

std::vector<float> as_weights(const std::vector<float>& v, Index n, Activation activation) {
  const Index rows = static_cast<Index>(v.size());
  Parts parts{{}, std::vector<std::int64_t>(v.size()), v, rows, 1};
  for (Index row = 0; row <= rows; ++row) parts.indptr.push_back(row);
  return multiplied(parts.csr(), std::vector<float>(n, 1), n, {}, activation);
}

// Every exponent, both signs; `step` apart in their bits.
std::vector<float> floats(std::uint32_t step) {
  std::vector<float> all;
  for (std::uint64_t bits = 0; bits < 1ull << 32; bits += step) {
    const float v = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    if (std::isfinite(v)) all.push_back(v);
  }
  return all;
}

void expect_within_ulps(const std::vector<float>& v, const std::vector<float>& y, Activation activation) {
  ASSERT_EQ(y.size(), v.size());
  for (std::size_t i = 0; i < v.size(); ++i) {
    const double exact = activated(v[i], activation), allowed = activation_error(v[i], exact, activation);
    ASSERT_LE(std::abs(y[i] - exact), allowed) << "activation " << static_cast<int>(activation) << " of " << v[i];
  }
}

TEST(Activation, IsWithinItsUnitsInTheLastPlaceForFloatsOfEverySize) {
  const std::vector<float> v = floats(kSlow ? 65521 * 16 : 16381);
  for (const Activation activation : kActivations)
    for_each_isa([&] { expect_within_ulps(v, wide(v, activation), activation); });
}

TEST(Activation, IsWithinItsUnitsInTheLastPlaceWhereItBends) {
  std::vector<float> v;
  const Index steps = kSlow ? 2'000 : 60'000;
  for (Index i = -steps; i <= steps; ++i) v.push_back(16.0f * static_cast<float>(i) / static_cast<float>(steps));
  for (const Activation activation : kActivations)
    for_each_isa([&] { expect_within_ulps(v, wide(v, activation), activation); });
}

TEST(Activation, OfInfinityIsItsLimitAndOfNaNIsNaN) {
  struct Limits {
    Activation activation;
    float below, above;
  };
  for (const Limits& l : {Limits{Activation::none, -kInf, kInf},
                          {Activation::relu, 0, kInf},
                          {Activation::relu6, 0, 6},
                          {Activation::gelu, 0, kInf},
                          {Activation::gelu_tanh, 0, kInf},
                          {Activation::silu, 0, kInf},
                          {Activation::sigmoid, 0, 1},
                          {Activation::tanh, -1, 1},
                          {Activation::hardswish, 0, kInf},
                          {Activation::hardsigmoid, 0, 1},
                          {{Activation::leaky_relu, 0.5f}, -kInf, kInf},
                          {{Activation::elu, 1.5f}, -1.5f, kInf},
                          {Activation::mish, 0, kInf},
                          {Activation::softplus, 0, kInf},
                          {Activation::erf, -1, 1},
                          {Activation::exp, 0, kInf}}) {
    SCOPED_TRACE(static_cast<int>(l.activation));
    for_each_isa([&] {
      for (const Index n : {1, 3, 20}) {
        const std::vector<float> y = as_weights({-kInf, kInf, kNaN, -kNaN}, n, l.activation);
        for (Index c = 0; c < n; ++c) {
          EXPECT_EQ(y[c], l.below);
          EXPECT_EQ(y[n + c], l.above);
          EXPECT_TRUE(std::isnan(y[2 * n + c]) && std::isnan(y[3 * n + c]));
        }
      }
    });
  }
}

TEST(Activation, PowersOfEAreWithinTheirUnitsUpToTheLargestFloat) {
  std::vector<float> v;
  for (const float x : floats(kSlow ? 65521 : 1021))
    if (x < 88.7f) v.push_back(x);
  for_each_isa([&] {
    expect_within_ulps(v, wide(v, Activation::exp), Activation::exp);
    EXPECT_EQ(wide({88.8f}, Activation::exp)[0], kInf);
  });
}

TEST(Activation, SquareRootsAreRoundedOnce) {
  std::vector<float> v;
  for (const float x : floats(16381))
    if (x >= 0) v.push_back(x);
  for_each_isa([&] {
    const std::vector<float> y = wide(v, Activation::sqrt);
    for (std::size_t i = 0; i < v.size(); ++i) ASSERT_EQ(y[i], std::sqrt(v[i])) << v[i];
    EXPECT_TRUE(std::isnan(wide({-1.0f}, Activation::sqrt)[0]));
  });
}

TEST(Activation, LogarithmsAreWithinTheirUnitsFromTheSmallestFloatOn) {
  std::vector<float> v;
  for (const float x : floats(kSlow ? 65521 : 1021))
    if (x > 0) v.push_back(x);
  for (Index i = 1; i < 20'000; ++i) v.push_back(0.5f + static_cast<float>(i) * 1e-4f);  // where they are close to 0
  for_each_isa([&] {
    expect_within_ulps(v, wide(v, Activation::log), Activation::log);
    const std::vector<float> y = wide({0.0f, -0.0f, 1.0f, kInf, -1.0f, -kInf, kNaN}, Activation::log);
    EXPECT_EQ(y[0], -kInf);
    EXPECT_EQ(y[1], -kInf);
    EXPECT_EQ(y[2], 0.0f);
    EXPECT_EQ(y[3], kInf);
    for (std::size_t i = 4; i < y.size(); ++i) EXPECT_TRUE(std::isnan(y[i])) << i;
  });
}

TEST(Activation, FloorsAreExact) {
  std::vector<float> v = floats(kSlow ? 65521 * 16 : 16381);
  for (Index i = -4000; i <= 4000; ++i) v.push_back(static_cast<float>(i) * 0.25f);
  for_each_isa([&] {
    const std::vector<float> y = wide(v, Activation::floor);
    for (std::size_t i = 0; i < v.size(); ++i) ASSERT_EQ(y[i], std::floor(v[i])) << v[i];
    EXPECT_EQ(wide({kInf}, Activation::floor)[0], kInf);
    EXPECT_TRUE(std::isnan(wide({kNaN}, Activation::floor)[0]));
  });
}

TEST(Activation, GivesTheSameBitsWhereverAnOutputStands) {
  const std::vector<float> v = floats(kSlow ? 65521 * 256 : 65521 * 16);
  for (const Activation activation : kActivations)
    for_each_isa([&] {
      const std::vector<float> expected = wide(v, activation);
      for (const Index n : {1, 2, 5, 8, 9, 17, 64}) {
        SCOPED_TRACE("n = " + std::to_string(n));
        const std::vector<float> y = as_weights(v, n, activation);
        for (Index c = 0; c < n; ++c) {
          std::vector<float> column;
          for (std::size_t row = 0; row < v.size(); ++row) column.push_back(y[row * n + c]);
          expect_same_bits(column, expected);
        }
      }
    });
}

}  // namespace
}  // namespace sparse_engine
