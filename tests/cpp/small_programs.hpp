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

// Everything that moves elements, one after another: x (N, 6, 5, 4) → its even channels from 1 on, without the last column →
// channels last → a frame of −2 → every column three times → pools of unequal windows → the smaller of it and 3.
inline ProgramParts moving_network() {
  ProgramParts p;
  p.values = {{"x", {kBatch, {6}, {5}, {4}}},
              {"part", {kBatch, {3}, {5}, {3}}},
              {"last", {kBatch, {5}, {3}, {3}}},
              {"pad", {kBatch, {6}, {3}, {4}}},
              {"apart", {kBatch, {6}, {3}, {4}, {1}}},
              {"more", {kBatch, {6}, {3}, {4}, {3}}},
              {"flat", {kBatch, {6}, {3}, {12}}},
              {"pool", {kBatch, {6}, {2}, {5}}},
              {"y", {kBatch, {6}, {2}, {5}}},
              {"frame", {}, 0},
              {"bound", {}, 1}};
  p.constants = {{-2.0f}, {3.0f}};
  const auto node = [&](Operation operation, std::vector<Index> inputs, Index output, std::vector<Index> numbers) {
    p.nodes.push_back({.operation = operation,
                       .name = p.values[output].name,
                       .inputs = std::move(inputs),
                       .output = output,
                       .numbers = std::move(numbers)});
  };
  node(Operation::slice, {0}, 1, {0, -1, 1, 1, 6, 2, 0, 5, 1, 0, 3, 1});
  node(Operation::permute, {1}, 2, {0, 2, 3, 1});
  node(Operation::pad, {2, 9}, 3, {0, 0, 1, 0, 0, 0, 0, 1});
  node(Operation::reshape, {3}, 4, {});
  node(Operation::expand, {4}, 5, {});
  node(Operation::reshape, {5}, 6, {});
  node(Operation::adaptive_max_pool, {6}, 7, {2, 5});
  node(Operation::minimum, {7, 10}, 8, {});
  p.inputs = {0};
  p.outputs = {8};
  return p;
}

// What it computes for one image.
inline std::vector<float> moving_network_of(const float* x) {
  std::vector<float> flat(6 * 3 * 12, -2.0f), y;
  for (Index row = 0; row < 5; ++row)
    for (Index column = 0; column < 3; ++column)
      for (Index channel = 0; channel < 3; ++channel)
        for (Index copy = 0; copy < 3; ++copy)
          flat[((row + 1) * 3 + column) * 12 + channel * 3 + copy] = x[((2 * channel + 1) * 5 + row) * 4 + column];
  for (Index channel = 0; channel < 6; ++channel)
    for (Index r = 0; r < 2; ++r)
      for (Index c = 0; c < 5; ++c) {
        float most = -kInf;
        for (Index i = r * 3 / 2; i * 2 < (r + 1) * 3; ++i)
          for (Index j = c * 12 / 5; j * 5 < (c + 1) * 12; ++j) most = std::max(most, flat[(channel * 3 + i) * 12 + j]);
        y.push_back(std::min(most, 3.0f));
      }
  return y;
}

}  // namespace sparse_engine::reference
