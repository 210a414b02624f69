// W · X, X and Y as A @ X has them, with 2:4 weights over the `nm` lines of bench/shapes.
#include "cases.hpp"

namespace {

void nm(benchmark::State& state, const bench::Case& c) {
  const auto rows = static_cast<std::int64_t>(c.numbers[0]), cols = static_cast<std::int64_t>(c.numbers[1]);
  auto weights = bench::normal(rows * cols, 1);
  for (std::int64_t group = 0; group < rows * cols / 4; ++group)  // two of four go, which ones varies
    weights[group * 4 + group % 3] = weights[group * 4 + 3] = 0.0f;
  const auto matrix = sparse_engine::Nm::from_dense(weights.data(), rows, cols, {2, 4});
  bench::time_product(state, matrix, static_cast<std::int64_t>(c.numbers[2]), 4.25 * static_cast<double>(matrix.nnz()),
                      bench::Operands::columns);
}

}  // namespace

int main(int argc, char** argv) {
  for (const bench::Case& c : bench::cases("nm", 3)) {
    std::ostringstream name;
    name << "nm/" << c.numbers[0] << "x" << c.numbers[1] << "/n" << c.numbers[2];
    bench::add(name.str(), nm, c);
  }
  return bench::run_all(argc, argv);
}
