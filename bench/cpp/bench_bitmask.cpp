// Bitmask and CSR matrices of every type of value, times few columns, beyond the caches.
#include <array>
#include <string>

#include "cases.hpp"

namespace {

using sparse_engine::Index;
using sparse_engine::ValueType;

constexpr std::array kTypes = {ValueType::float32, ValueType::bfloat16, ValueType::float16, ValueType::int8};
constexpr std::array kNames = {"float32", "bfloat16", "float16", "int8"};
constexpr std::array kValueBytes = {4, 2, 2, 1};

void bitmask(benchmark::State& state, std::size_t type, Index rows, Index cols, Index columns, double sparsity) {
  const auto weights = bench::normal(rows * cols, 1, sparsity);
  const auto matrix = sparse_engine::Bitmask::from_dense(weights.data(), rows, cols, kTypes[type]);
  bench::time_product(state, matrix, columns, static_cast<double>(matrix.nnz() * kValueBytes[type] + rows * cols / 8));
}

void csr(benchmark::State& state, std::size_t type, Index rows, Index cols, Index columns, double sparsity) {
  const auto weights = bench::normal(rows * cols, 1, sparsity);
  const auto matrix = sparse_engine::Csr::from_dense(weights.data(), rows, cols, kTypes[type]);
  bench::time_product(state, matrix, columns, static_cast<double>(matrix.nnz() * (kValueBytes[type] + 2)));
}

}  // namespace

int main(int argc, char** argv) {
  for (const double sparsity : {0.5, 0.7, 0.9, 0.95})
    for (const Index columns : {1, 4, 8})
      for (std::size_t type = 0; type < kTypes.size(); ++type) {
        std::ostringstream tail;
        tail << "/" << kNames[type] << "/4096x9216/n" << columns << "/" << sparsity;
        bench::add("bitmask" + tail.str(), bitmask, type, 4096, 9216, columns, sparsity);
        if (kTypes[type] != ValueType::int8) bench::add("csr" + tail.str(), csr, type, 4096, 9216, columns, sparsity);
      }
  return bench::run_all(argc, argv);
}
