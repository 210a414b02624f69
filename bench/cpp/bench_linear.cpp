// sparse_engine::linear over the `linear` lines of bench/shapes.
#include <vector>

#include "cases.hpp"
#include "sparse_engine/sparse_engine.hpp"

namespace {

using sparse_engine::Activation;
using sparse_engine::Index;

void linear(benchmark::State& state, const bench::Case& c) {
  const auto rows = static_cast<Index>(c.numbers[0]), cols = static_cast<Index>(c.numbers[1]);
  const auto columns = static_cast<Index>(c.numbers[2]);
  const auto weights = bench::normal(rows * cols, 1, c.numbers[3]);
  const auto x = bench::normal(columns * cols, 2);
  const auto matrix = sparse_engine::Csr::from_dense(weights.data(), rows, cols);
  std::vector<float> y(static_cast<std::size_t>(columns * rows));
  const auto run = [&] {
    sparse_engine::linear({x.data(), columns, cols, cols, 1}, matrix, {}, {y.data(), columns, rows, rows, 1});
  };
  run();
  for (Index i = 0; i < columns * rows; i += 97) {
    const float* w = weights.data() + i % rows * cols;
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
  const Index bytes = matrix.nnz() * 6 + 4 * columns * (rows + cols);
  bench::report(state, matrix.nnz(), rows * cols, columns, bytes);
}

}  // namespace

int main(int argc, char** argv) {
  for (const bench::Case& c : bench::cases("linear", 4)) {
    std::ostringstream name;
    name << "linear/" << c.file << "/" << c.numbers[0] << "x" << c.numbers[1] << "/n" << c.numbers[2] << "/" << c.numbers[3];
    benchmark::RegisterBenchmark(name.str().c_str(), linear, c)->UseRealTime()->Unit(benchmark::kMicrosecond);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("isa", std::string(sparse_engine::isa()));
  benchmark::RunSpecifiedBenchmarks();
}
