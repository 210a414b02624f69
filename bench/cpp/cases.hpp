// Shapes from bench/shapes/*.txt, weights to fill them, and the counters every benchmark reports.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "limits.hpp"
#include "sparse_engine/runtime.hpp"

namespace bench {

struct Case {
  std::string file;
  std::vector<double> numbers;
};

// The lines of every shapes file that begin with `operation`, the `fields` numbers after it.
inline std::vector<Case> cases(const std::string& operation, std::size_t fields) {
  std::vector<Case> found;
  for (const auto& entry : std::filesystem::directory_iterator(SPARSE_ENGINE_SHAPES)) {
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line.substr(0, line.find('#')));
      std::string word;
      if (!(words >> word) || word != operation) continue;
      Case c{entry.path().stem().string(), {}};
      for (double number; c.numbers.size() < fields && words >> number;) c.numbers.push_back(number);
      if (c.numbers.size() == fields) found.push_back(c);
    }
  }
  return found;
}

inline std::vector<float> normal(std::int64_t count, unsigned seed, double sparsity = 0) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> value;
  std::uniform_real_distribution<double> draw;
  std::vector<float> result(static_cast<std::size_t>(count));
  for (float& v : result) v = draw(generator) < sparsity ? 0.0f : value(generator);
  return result;
}

// |y − exact| ≤ γ(terms + 2)·magnitude, γ(m) = m·u / (1 − m·u), u = 2⁻²⁴.
inline bool within_bound(float y, double exact, double magnitude, std::int64_t terms) {
  const double roundings = static_cast<double>(terms + 2) * 0x1p-24;
  return std::abs(y - exact) <= roundings / (1 - roundings) * magnitude;
}

// Real and dense-equivalent GFLOP/s, bytes/s and the share of the physical limit.
inline void report(benchmark::State& state, std::int64_t nnz, std::int64_t dense, std::int64_t columns, std::int64_t bytes) {
  using benchmark::Counter;
  const int threads = sparse_engine::num_threads();
  const auto rate = [](double amount) { return Counter(amount, Counter::kIsIterationInvariantRate, Counter::kIs1000); };
  const auto n = static_cast<double>(columns);
  state.counters["flops"] = rate(2.0 * static_cast<double>(nnz) * n);
  state.counters["dense_flops"] = rate(2.0 * static_cast<double>(dense) * n);
  state.counters["bytes"] = rate(static_cast<double>(bytes));
  // Iterations × least seconds / seconds taken.
  state.counters["share_of_limit"] = rate(least_seconds(nnz, columns, bytes, threads));
}

}  // namespace bench
