// W · X, X and Y as A @ X has them, with strips of four and eight weights over the `bsr` lines of bench/shapes.
#include "cases.hpp"

namespace {

void bsr(benchmark::State& state, const bench::Case& c, std::int64_t height) {
  const auto rows = static_cast<std::int64_t>(c.numbers[0]), cols = static_cast<std::int64_t>(c.numbers[1]);
  const auto kept = bench::normal(rows / height * cols, 1, c.numbers[3]);
  auto weights = bench::normal(rows * cols, 3);
  for (std::int64_t i = 0; i < rows * cols; ++i)
    if (kept[i / cols / height * cols + i % cols] == 0.0f) weights[i] = 0.0f;
  const auto matrix = sparse_engine::Bsr::from_dense(weights.data(), rows, cols, {height, 1});
  const double bytes_per_weight = 4.0 + 4.0 / static_cast<double>(height);
  bench::time_product(state, matrix, static_cast<std::int64_t>(c.numbers[2]),
                      bytes_per_weight * static_cast<double>(matrix.nnz()), bench::Operands::columns);
}

}  // namespace

int main(int argc, char** argv) {
  for (const bench::Case& c : bench::cases("bsr", 4))
    for (const std::int64_t height : {4, 8}) {
      std::ostringstream name;
      name << "bsr" << height << "x1/" << c.numbers[0] << "x" << c.numbers[1] << "/n" << c.numbers[2] << "/" << c.numbers[3];
      bench::add(name.str(), bsr, c, height);
    }
  return bench::run_all(argc, argv);
}
