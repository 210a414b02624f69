// Bitmask and CSR matrices of every type of value, times few columns, beyond the caches.
#include <array>
#include <string>
#include <vector>

#include "cases.hpp"
#include "sparse_engine/sparse_engine.hpp"

namespace {

using sparse_engine::Index;
using sparse_engine::ValueType;

constexpr std::array kTypes = {ValueType::float32, ValueType::bfloat16, ValueType::float16, ValueType::int8};
constexpr std::array kNames = {"float32", "bfloat16", "float16", "int8"};
constexpr std::array kValueBytes = {4, 2, 2, 1};

void narrow(benchmark::State& state, const sparse_engine::Matrix& matrix, Index columns, double bytes_of_w) {
  const Index rows = matrix.rows(), cols = matrix.cols();
  const auto x = bench::normal(columns * cols, 2);
  std::vector<float> dense(static_cast<std::size_t>(rows * cols)), y(static_cast<std::size_t>(columns * rows));
  matrix.to_dense(dense.data());
  const auto run = [&] {
    sparse_engine::linear({x.data(), columns, cols, cols, 1}, matrix, {}, {y.data(), columns, rows, rows, 1});
  };
  run();
  for (Index i = 0; i < columns * rows; i += 97) {
    const float* w = dense.data() + i % rows * cols;
    const float* in = x.data() + i / rows * cols;
    double exact = 0, magnitude = 0;
    Index terms = 0;
    for (Index k = 0; k < cols; ++k) {
      if (w[k] == 0) continue;
      const double product = static_cast<double>(w[k]) * in[k];
      exact += product, magnitude += std::abs(product), ++terms;
    }
    if (!bench::within_bound(y[i], exact, magnitude, terms)) return state.SkipWithError("outside the proven bound");
  }
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  bench::report(state, matrix.nnz(), rows * cols, columns, static_cast<Index>(bytes_of_w) + 4 * columns * (rows + cols));
}

void bitmask(benchmark::State& state, std::size_t type, Index rows, Index cols, Index columns, double sparsity) {
  const auto weights = bench::normal(rows * cols, 1, sparsity);
  const auto matrix = sparse_engine::Bitmask::from_dense(weights.data(), rows, cols, kTypes[type]);
  narrow(state, matrix, columns, static_cast<double>(matrix.nnz() * kValueBytes[type] + rows * cols / 8));
}

void csr(benchmark::State& state, std::size_t type, Index rows, Index cols, Index columns, double sparsity) {
  const auto weights = bench::normal(rows * cols, 1, sparsity);
  const auto matrix = sparse_engine::Csr::from_dense(weights.data(), rows, cols, kTypes[type]);
  narrow(state, matrix, columns, static_cast<double>(matrix.nnz() * (kValueBytes[type] + 2)));
}

}  // namespace

int main(int argc, char** argv) {
  for (const double sparsity : {0.5, 0.7, 0.9, 0.95})
    for (const Index columns : {1, 4, 8})
      for (std::size_t type = 0; type < kTypes.size(); ++type) {
        std::ostringstream tail;
        tail << "/" << kNames[type] << "/4096x9216/n" << columns << "/" << sparsity;
        const auto add = [&](const char* format, auto* run) {
          benchmark::RegisterBenchmark((format + tail.str()).c_str(), run, type, 4096, 9216, columns, sparsity)
              ->UseRealTime()
              ->Unit(benchmark::kMicrosecond);
        };
        add("bitmask", &bitmask);
        if (kTypes[type] != ValueType::int8) add("csr", &csr);
      }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("isa", std::string(sparse_engine::isa()));
  benchmark::RunSpecifiedBenchmarks();
}
