// Products with CSR weights over the `linear` lines of bench/shapes, as a linear layer has X and Y and as A @ X has them.
#include "cases.hpp"

namespace {

void product(benchmark::State& state, const bench::Case& c, bench::Operands operands) {
  const auto rows = static_cast<std::int64_t>(c.numbers[0]), cols = static_cast<std::int64_t>(c.numbers[1]);
  const auto weights = bench::normal(rows * cols, 1, c.numbers[3]);
  const auto matrix = sparse_engine::Csr::from_dense(weights.data(), rows, cols);
  bench::time_product(state, matrix, static_cast<std::int64_t>(c.numbers[2]), 6.0 * static_cast<double>(matrix.nnz()),
                      operands);
}

}  // namespace

int main(int argc, char** argv) {
  for (const bench::Case& c : bench::cases("linear", 4))
    for (const auto operands : {bench::Operands::rows, bench::Operands::columns}) {
      std::ostringstream name;
      name << (operands == bench::Operands::rows ? "linear/" : "product/") << c.file << "/" << c.numbers[0] << "x"
           << c.numbers[1] << "/n" << c.numbers[2] << "/" << c.numbers[3];
      bench::add(name.str(), product, c, operands);
    }
  return bench::run_all(argc, argv);
}
