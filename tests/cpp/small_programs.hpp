// Programs by hand, for the tests of programs and sessions.
#pragma once

#include "reference.hpp"
#include "sparse_engine/program.hpp"

namespace sparse_engine::reference {

inline constexpr Size kBatch{0, 1};

// A residual block and a head: x (N, 3, 8, 8) → conv 3×3 → conv 1×1 + the first → mean → linear 5.
inline ProgramParts residual_network(double density = 0.4) {
  const auto weight = [&](Index rows, Index cols, std::uint64_t seed) {
    const Weights w = integer_weights(rows, cols, density, seed);
    return compress(w.values.data(), rows, cols);
  };
  ProgramParts p;
  p.values = {{"x", {kBatch, {3}, {8}, {8}}},
              {"a", {kBatch, {6}, {8}, {8}}},
              {"b", {kBatch, {6}, {8}, {8}}},
              {"m", {kBatch, {6}}},
              {"y", {kBatch, {5}}}};
  p.constants = {integers(6, 51), integers(5, 52)};
  p.weights = {weight(6, 27, 53), weight(6, 6, 54), weight(5, 6, 55)};
  p.nodes = {
      {.operation = Operation::conv2d,
       .name = "first",
       .inputs = {0},
       .output = 1,
       .weight = 0,
       .bias = 0,
       .activation = Activation::relu,
       .numbers = {3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
      {.operation = Operation::conv2d,
       .name = "second",
       .inputs = {1},
       .output = 2,
       .weight = 1,
       .residual = 1,
       .activation = Activation::relu,
       .numbers = {1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1}},
      {.operation = Operation::mean, .name = "mean", .inputs = {2}, .output = 3, .numbers = {2, 0}},
      {.operation = Operation::linear, .name = "head", .inputs = {3}, .output = 4, .weight = 2, .bias = 1, .numbers = {}}};
  p.inputs = {0};
  p.outputs = {4};
  return p;
}

// What it computes for one image, in float64.
inline std::vector<double> residual_network_of(const ProgramParts& p, const float* x) {
  std::vector<std::vector<float>> w;
  for (const WeightInfo& info : p.weights) {
    w.emplace_back(info.rows * info.cols);
    info.to_dense(w.back().data());
  }
  std::vector<double> a(6 * 64), m(6), y(5);
  for (Index c = 0; c < 6; ++c)
    for (Index r = 0; r < 8; ++r)
      for (Index s = 0; s < 8; ++s) {
        double sum = p.constants[0][c];
        for (Index k = 0; k < 27; ++k) {
          const Index i = r + k / 3 % 3 - 1, j = s + k % 3 - 1;
          if (i >= 0 && j >= 0 && i < 8 && j < 8) sum += double{w[0][c * 27 + k]} * x[k / 9 * 64 + i * 8 + j];
        }
        a[c * 64 + r * 8 + s] = std::max(sum, 0.0);
      }
  for (Index c = 0; c < 6; ++c)
    for (Index i = 0; i < 64; ++i) {
      double sum = a[c * 64 + i];
      for (Index k = 0; k < 6; ++k) sum += w[1][c * 6 + k] * a[k * 64 + i];
      m[c] += std::max(sum, 0.0) / 64;
    }
  for (Index o = 0; o < 5; ++o) {
    y[o] = p.constants[1][o];
    for (Index k = 0; k < 6; ++k) y[o] += w[2][o * 6 + k] * m[k];
  }
  return y;
}

}  // namespace sparse_engine::reference
