// Shapes from bench/shapes/*.txt, weights to fill them, and the counters every benchmark reports.
#pragma once

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "limits.hpp"
#include "sparse_engine/sparse_engine.hpp"

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
  struct Drawn {
    std::int64_t count;
    unsigned seed;
    double sparsity;
    std::vector<float> values;
  };
  static Drawn last{};  // repetitions ask for the same again, which takes longer to draw than to use
  if (count > 1'000'000 && last.count == count && last.seed == seed && last.sparsity == sparsity) return last.values;
  std::mt19937 generator(seed);
  std::normal_distribution<float> value;
  std::uniform_real_distribution<double> draw;
  std::vector<float> result(static_cast<std::size_t>(count));
  for (float& v : result) v = draw(generator) < sparsity ? 0.0f : value(generator);
  if (count > 1'000'000) last = {count, seed, sparsity, result};
  return result;
}

// |y − exact| ≤ γ(terms + 2)·magnitude, γ(m) = m·u / (1 − m·u), u = 2⁻²⁴.
inline bool within_bound(float y, double exact, double magnitude, std::int64_t terms) {
  const double roundings = static_cast<double>(terms + 2) * 0x1p-24;
  return std::abs(y - exact) <= roundings / (1 - roundings) * magnitude;
}

// Real and dense-equivalent GFLOP/s, bytes/s and the share of the physical limit.
inline void report(benchmark::State& state, std::int64_t nnz, std::int64_t dense, std::int64_t columns, std::int64_t bytes,
                   int sharing_rows = 1) {
  using benchmark::Counter;
  const int threads = sparse_engine::num_threads();
  const auto rate = [](double amount) { return Counter(amount, Counter::kIsIterationInvariantRate, Counter::kIs1000); };
  const auto n = static_cast<double>(columns);
  state.counters["flops"] = rate(2.0 * static_cast<double>(nnz) * n);
  state.counters["dense_flops"] = rate(2.0 * static_cast<double>(dense) * n);
  state.counters["bytes"] = rate(static_cast<double>(bytes));
  // Iterations × least seconds / seconds taken.
  state.counters["share_of_limit"] = rate(least_seconds(nnz, columns, bytes, threads, sharing_rows));
}

// How X and Y lie in memory: as the columns of W · X, or as the rows that a linear layer has, to be transposed on the way.
enum class Operands { columns, rows };

// Rows that share their loads of X.
inline int strip_height(const sparse_engine::Matrix& matrix) {
  const auto* bsr = dynamic_cast<const sparse_engine::Bsr*>(&matrix);
  return bsr == nullptr ? 1 : static_cast<int>(std::gcd(bsr->block().height, std::int64_t{4}));
}

// Times W · X for `columns` columns, after its output was checked. `bytes_of_w` is what a call reads of W.
inline void time_product(benchmark::State& state, const sparse_engine::Matrix& matrix, std::int64_t columns, double bytes_of_w,
                         Operands operands = Operands::rows) {
  const std::int64_t rows = matrix.rows(), cols = matrix.cols();
  const bool turned = operands == Operands::rows;
  const std::int64_t x_row = turned ? 1 : columns, x_column = turned ? cols : 1;
  const std::int64_t y_row = turned ? 1 : columns, y_column = turned ? rows : 1;
  const std::vector<float> x = normal(columns * cols, 2);
  std::vector<float> dense(static_cast<std::size_t>(rows * cols)), y(static_cast<std::size_t>(columns * rows));
  matrix.to_dense(dense.data());
  const auto run = [&] {
    sparse_engine::multiply(matrix, {x.data(), cols, columns, x_row, x_column}, {}, {y.data(), rows, columns, y_row, y_column});
  };
  run();
  for (std::int64_t i = 0; i < columns * rows; i += 97) {
    const float* w = dense.data() + i % rows * cols;
    const float* in = x.data() + i / rows * x_column;
    double exact = 0, magnitude = 0;
    std::int64_t terms = 0;
    for (std::int64_t k = 0; k < cols; ++k) {
      if (w[k] == 0) continue;
      const double product = static_cast<double>(w[k]) * in[k * x_row];
      exact += product, magnitude += std::abs(product), ++terms;
    }
    if (!within_bound(y[i % rows * y_row + i / rows * y_column], exact, magnitude, terms))
      return state.SkipWithError("outside the proven bound");
  }
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  const auto bytes = static_cast<std::int64_t>(bytes_of_w) + 4 * columns * (rows + cols);
  report(state, matrix.nnz(), rows * cols, columns, bytes, strip_height(matrix));
}

template <class... Arguments>
void add(const std::string& name, Arguments... arguments) {
  benchmark::RegisterBenchmark(name.c_str(), arguments...)->UseRealTime()->Unit(benchmark::kMicrosecond);
}

inline int run_all(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("isa", std::string(sparse_engine::isa()));
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace bench
