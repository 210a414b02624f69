// sparse_engine::linear with 2:4 weights over the `nm` lines of bench/shapes.
#include <vector>

#include "cases.hpp"
#include "sparse_engine/sparse_engine.hpp"

namespace {

using sparse_engine::Index;

void nm(benchmark::State& state, const bench::Case& c) {
  const auto rows = static_cast<Index>(c.numbers[0]), cols = static_cast<Index>(c.numbers[1]);
  const auto columns = static_cast<Index>(c.numbers[2]);
  auto weights = bench::normal(rows * cols, 1);
  for (Index group = 0; group < rows * cols / 4; ++group)  // two of four go, which ones varies
    weights[group * 4 + group % 3] = weights[group * 4 + 3] = 0.0f;
  const auto x = bench::normal(columns * cols, 2);
  const auto matrix = sparse_engine::Nm::from_dense(weights.data(), rows, cols, {2, 4});
  std::vector<float> y(static_cast<std::size_t>(columns * rows));
  const auto run = [&] {
    sparse_engine::linear({x.data(), columns, cols, cols, 1}, matrix, {}, {y.data(), columns, rows, rows, 1});
  };
  run();
  for (Index i = 0; i < columns * rows; i += 97) {
    double exact = 0, magnitude = 0;
    for (Index k = 0; k < cols; ++k) {
      const double product = static_cast<double>(weights[i % rows * cols + k]) * x[i / rows * cols + k];
      exact += product, magnitude += std::abs(product);
    }
    if (!bench::within_bound(y[i], exact, magnitude, cols / 2)) return state.SkipWithError("outside the proven bound");
  }
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  bench::report(state, matrix.nnz(), rows * cols, columns, matrix.nnz() * 17 / 4 + 4 * columns * (rows + cols));
}

}  // namespace

int main(int argc, char** argv) {
  for (const bench::Case& c : bench::cases("nm", 3)) {
    std::ostringstream name;
    name << "nm/" << c.numbers[0] << "x" << c.numbers[1] << "/n" << c.numbers[2];
    benchmark::RegisterBenchmark(name.str().c_str(), nm, c)->UseRealTime()->Unit(benchmark::kMicrosecond);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("isa", std::string(sparse_engine::isa()));
  benchmark::RunSpecifiedBenchmarks();
}
