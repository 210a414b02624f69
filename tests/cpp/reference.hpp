// What the tests compare with, and the hostile surroundings they put the library in.
//
// Expected values are computed in float64 from the float32 inputs, over stored weights only: a pruned weight is absent, not
// multiplied. With n stored weights in a row the library promises
//   |ŷ − y| ≤ γ(n + 2)·(Σ|w||x| + |b|),  γ(m) = m·u / (1 − m·u),  u = 2⁻²⁴.
// relu and relu6 never widen a difference, so the bound holds behind them too; the others widen it by their steepest slope and
// add some units in the last place of their own.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "guarded.hpp"
#include "sparse_engine/sparse_engine.hpp"

namespace sparse_engine::reference {

#if defined(SPARSE_ENGINE_TEST_SANITIZED)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#if defined(SPARSE_ENGINE_TEST_EMULATED)
inline constexpr bool kEmulated = true;
#else
inline constexpr bool kEmulated = false;
#endif
inline constexpr bool kSlow = kSanitized || kEmulated;

inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

inline const std::vector<Activation> kExactActivations = {Activation::none, Activation::relu, Activation::relu6};
// Those of bounded slope: exp and sqrt have tests of their own.
inline const std::vector<Activation> kActivations = {Activation::none,
                                                     Activation::relu,
                                                     Activation::relu6,
                                                     Activation::gelu,
                                                     Activation::silu,
                                                     Activation::sigmoid,
                                                     Activation::tanh,
                                                     Activation::hardswish,
                                                     Activation::hardsigmoid,
                                                     Activation::leaky_relu,
                                                     {Activation::leaky_relu, 0.25f},
                                                     Activation::elu,
                                                     {Activation::elu, 1.5f},
                                                     Activation::mish,
                                                     Activation::softplus,
                                                     Activation::erf,
                                                     Activation::sin,
                                                     Activation::cos,
                                                     Activation::gelu_tanh};

// The same numbers on every platform, which the distributions of the standard library do not promise (splitmix64).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double unit() { return static_cast<double>(bits() >> 11) * 0x1p-53; }  // [0, 1)
  Index between(Index first, Index last) { return first + static_cast<Index>(bits() >> 1) % (last - first + 1); }
  bool one_in(double probability) { return unit() < probability; }
  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[bits() % from.size()];
  }

 private:
  std::uint64_t state_;
};

// A row-major matrix with zeros where nothing is stored.
struct Weights {
  Index rows, cols;
  std::vector<float> values;
  Csr csr() const { return Csr::from_dense(values.data(), rows, cols); }
};

inline std::vector<float> reals(Index count, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(random.unit() * 2 - 1);
  return values;
}

inline std::vector<float> integers(Index count, std::uint64_t seed) {  // {−8..8}
  Random random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(random.between(-8, 8));
  return values;
}

template <class Draw>
Weights weights_from(Index rows, Index cols, double density, std::uint64_t seed, const Draw& draw) {
  Random random(seed);
  Weights w{rows, cols, std::vector<float>(rows * cols)};
  for (float& v : w.values)
    if (random.one_in(density)) v = draw(random);
  return w;
}

inline Weights real_weights(Index rows, Index cols, double density, std::uint64_t seed) {
  return weights_from(rows, cols, density, seed, [](Random& random) {
    return static_cast<float>((random.unit() + 0.0625) * (random.one_in(0.5) ? 1 : -1));  // never 0
  });
}

inline Weights integer_weights(Index rows, Index cols, double density, std::uint64_t seed) {  // {−4..4} without 0
  return weights_from(rows, cols, density, seed,
                      [](Random& random) { return static_cast<float>(random.between(1, 4) * (random.one_in(0.5) ? 1 : -1)); });
}

// The arrays of from_parts.
struct Parts {
  std::vector<std::int64_t> indptr, indices;
  std::vector<float> values;
  Index rows, cols;
  Csr csr() const { return Csr::from_parts(indptr, indices, values, rows, cols); }
};

inline Parts parts_of(const Weights& w) {
  Parts parts{{0}, {}, {}, w.rows, w.cols};
  for (Index row = 0; row < w.rows; ++row) {
    for (Index col = 0; col < w.cols; ++col) {
      if (w.values[row * w.cols + col] == 0) continue;
      parts.indices.push_back(col);
      parts.values.push_back(w.values[row * w.cols + col]);
    }
    parts.indptr.push_back(static_cast<std::int64_t>(parts.indices.size()));
  }
  return parts;
}

inline std::vector<float> dense(const Csr& csr) {
  std::vector<float> out(csr.rows() * csr.cols(), kNaN);
  csr.to_dense(out.data());
  return out;
}

struct Expected {
  std::vector<double> values, bounds;
};

inline double gamma(double m) { return m * 0x1p-24 / (1 - m * 0x1p-24); }

// 0 · ∞ is the limit.
inline double activated(double v, Activation activation) {
  const bool vanishes = v == -std::numeric_limits<double>::infinity();
  switch (activation) {
    case Activation::none: return v;
    case Activation::relu: return v < 0 ? 0 : v;
    case Activation::relu6: return v < 0 ? 0 : v > 6 ? 6 : v;
    case Activation::gelu: return vanishes ? 0 : v * 0.5 * std::erfc(-v * std::sqrt(0.5));
    case Activation::silu: return vanishes ? 0 : v / (1 + std::exp(-v));
    case Activation::sigmoid: return 1 / (1 + std::exp(-v));
    case Activation::tanh: return std::tanh(v);
    case Activation::hardswish: return v <= -3 ? 0 : v >= 3 ? v : v * (v + 3) / 6;
    case Activation::hardsigmoid: return v <= -3 ? 0 : v >= 3 ? 1 : (v + 3) / 6;
    case Activation::leaky_relu: return v < 0 ? v * activation.slope : v;
    case Activation::elu: return v < 0 ? std::expm1(v) * activation.slope : v;
    case Activation::mish: return vanishes ? 0 : v * std::tanh(std::max(v, 0.0) + std::log1p(std::exp(-std::abs(v))));
    case Activation::softplus: return std::max(v, 0.0) + std::log1p(std::exp(-std::abs(v)));
    case Activation::exp: return std::exp(v);
    case Activation::sqrt: return std::sqrt(v);
    case Activation::log: return std::log(v);
    case Activation::floor: return std::floor(v);
    case Activation::erf: return std::erf(v);
    case Activation::sin: return std::sin(v);
    case Activation::cos: return std::cos(v);
    case Activation::gelu_tanh:
      return vanishes ? 0 : v / (1 + std::exp(-v * std::sqrt(8 / 3.14159265358979323846) * (1 + 0.044715 * v * v)));
  }
  return kNaN;
}

inline double steepest_slope(Activation activation) {
  switch (activation) {
    case Activation::gelu:
    case Activation::gelu_tanh:
    case Activation::erf: return 1.13;
    case Activation::silu: return 1.1;
    case Activation::hardswish: return 1.5;
    case Activation::elu: return std::max(1.0f, activation.slope);
    case Activation::mish: return 1.1;
    default: return 1;
  }
}

// Units in the last place that docs/numerics.md allows an activation itself.
inline double activation_ulps(Activation activation) {
  switch (activation) {
    case Activation::gelu: return 6;
    case Activation::mish:
    case Activation::erf:
    case Activation::gelu_tanh:
    case Activation::silu: return 4;
    case Activation::elu:
    case Activation::exp:
    case Activation::log:
    case Activation::sin:
    case Activation::cos:
    case Activation::softplus:
    case Activation::sigmoid: return 3;
    case Activation::tanh:
    case Activation::hardswish: return 2;
    case Activation::hardsigmoid:
    case Activation::leaky_relu: return 1;
    default: return 0;
  }
}

inline double ulp(double v) {
  const float magnitude = std::min(static_cast<float>(std::abs(v)), std::numeric_limits<float>::max());
  return static_cast<double>(std::nextafter(magnitude, kInf)) - magnitude;
}

// What an activation of x may be away from the exact one. silu is a product with a sigmoid that is subnormal below −87.
inline double activation_error(double x, double exact, Activation activation) {
  const double of_sigmoid = activation == Activation::silu && x < -87 ? -x * 0x1p-149 : 0;
  return activation_ulps(activation) * ulp(exact) + of_sigmoid;
}

// One output: the stored weights of `row`, each with the input that `input(column)` returns.
template <class Input>
void add_output(const Weights& w, Index row, const std::vector<float>& bias, Activation activation, const Input& input,
                Expected& expected) {
  double sum = bias.empty() ? 0 : bias[row];
  double magnitude = std::abs(sum);
  Index terms = 0;
  for (Index col = 0; col < w.cols; ++col) {
    const double weight = w.values[row * w.cols + col];
    if (weight == 0) continue;
    const double term = weight * input(col);
    sum += term;
    magnitude += std::abs(term);
    ++terms;
  }
  const double y = activated(sum, activation), of_the_sum = gamma(static_cast<double>(terms) + 2) * magnitude;
  expected.values.push_back(y);
  expected.bounds.push_back(steepest_slope(activation) * of_the_sum + activation_error(sum, y, activation));
}

// act(W · X + b) for a row-major X of w.cols × n; an empty bias is none.
inline Expected product(const Weights& w, const std::vector<float>& x, Index n, const std::vector<float>& bias = {},
                        Activation activation = Activation::none) {
  Expected expected;
  for (Index row = 0; row < w.rows; ++row)
    for (Index c = 0; c < n; ++c) add_output(w, row, bias, activation, [&](Index k) { return double{x[k * n + c]}; }, expected);
  return expected;
}

// Where the exact result is not finite, the output is not finite in the same way.
inline void expect_within_bound(std::span<const float> actual, const Expected& expected) {
  ASSERT_EQ(actual.size(), expected.values.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double y = actual[i], exact = expected.values[i], bound = expected.bounds[i];
    const bool good = std::isnan(exact) ? std::isnan(y) : std::isfinite(bound) ? std::abs(y - exact) <= bound : y == exact;
    ASSERT_TRUE(good) << "output " << i << " of " << actual.size() << " is " << y << ", exactly " << exact << " ± " << bound;
  }
}

// For integers small enough that every sum is exact in float32. Comparing zeros would prove nothing.
inline void expect_exactly(std::span<const float> actual, const Expected& expected) {
  ASSERT_EQ(actual.size(), expected.values.size());
  std::size_t nonzero = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(actual[i], expected.values[i]) << "output " << i << " of " << actual.size();
    nonzero += actual[i] != 0;
  }
  ASSERT_GE(nonzero * 10, actual.size()) << "too many zeros for this test to mean anything";
}

inline void expect_same_bits(std::span<const float> actual, std::span<const float> expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i)
    ASSERT_EQ(std::memcmp(&actual[i], &expected[i], sizeof(float)), 0)
        << "output " << i << " is " << actual[i] << " and was " << expected[i];
}

inline const float* pointer(const std::vector<float>& bias) { return bias.empty() ? nullptr : bias.data(); }

// The library's W · X for row-major panels. What it fails to write stays NaN.
inline std::vector<float> multiplied(const Matrix& w, const std::vector<float>& x, Index n, const std::vector<float>& bias = {},
                                     Activation activation = Activation::none) {
  std::vector<float> y(w.rows() * n, kNaN);
  multiply(w, {x.data(), w.cols(), n, n, 1}, {.bias = pointer(bias), .activation = activation}, {y.data(), w.rows(), n, n, 1});
  return y;
}

// Runs `body` once per instruction set that this machine has; the one in use before comes back.
template <class Body>
void for_each_isa(const Body& body) {
  struct Restore {
    std::string name{isa()};
    ~Restore() { set_isa(name); }
  } restore;
  for (const std::string& name : supported_isas()) {
    SCOPED_TRACE(name);
    set_isa(name);
    body();
    if (testing::Test::HasFatalFailure()) return;
  }
}

// Number of threads for the length of a scope.
struct Threads {
  explicit Threads(int n) { set_num_threads(n); }
  ~Threads() { set_num_threads(0); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
};

// The message with which `call` refuses its arguments.
template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "(accepted)";
}
inline bool mentions(const std::string& message, const std::string& part) { return message.find(part) != std::string::npos; }
#define EXPECT_REFUSED(call, part)                                                           \
  do {                                                                                       \
    const std::string message = ::sparse_engine::reference::refusal([&] { call; });          \
    EXPECT_TRUE(::sparse_engine::reference::mentions(message, part)) << "said: " << message; \
  } while (false)

}  // namespace sparse_engine::reference
