// sparse_engine::linear with CSR weights over the `linear` lines of bench/shapes.
#include "cases.hpp"

namespace {

void linear(benchmark::State& state, const bench::Case& c) {
  const auto rows = static_cast<std::int64_t>(c.numbers[0]), cols = static_cast<std::int64_t>(c.numbers[1]);
  const auto weights = bench::normal(rows * cols, 1, c.numbers[3]);
  const auto matrix = sparse_engine::Csr::from_dense(weights.data(), rows, cols);
  bench::time_linear(state, matrix, static_cast<std::int64_t>(c.numbers[2]), 6.0 * static_cast<double>(matrix.nnz()));
}

}  // namespace

int main(int argc, char** argv) {
  for (const bench::Case& c : bench::cases("linear", 4)) {
    std::ostringstream name;
    name << "linear/" << c.file << "/" << c.numbers[0] << "x" << c.numbers[1] << "/n" << c.numbers[2] << "/" << c.numbers[3];
    bench::add(name.str(), linear, c);
  }
  return bench::run_all(argc, argv);
}
