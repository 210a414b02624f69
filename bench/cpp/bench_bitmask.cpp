// Bitmask and CSR matrices of every type of value that they keep, times few columns, beyond the caches.
#include <string>

#include "base/float_types.hpp"
#include "cases.hpp"

namespace {

using sparse_engine::Index;
using sparse_engine::kValueType;

template <class Value>
void bitmask(benchmark::State& state, Index rows, Index cols, Index columns, double sparsity) {
  const auto weights = bench::normal(rows * cols, 1, sparsity);
  const auto matrix = sparse_engine::Bitmask::from_dense(weights.data(), rows, cols, kValueType<Value>);
  bench::time_product(state, matrix, columns, static_cast<double>(matrix.nnz() * Index{sizeof(Value)} + rows * cols / 8));
}

template <class Value>
void csr(benchmark::State& state, Index rows, Index cols, Index columns, double sparsity) {
  const auto weights = bench::normal(rows * cols, 1, sparsity);
  const auto matrix = sparse_engine::Csr::from_dense(weights.data(), rows, cols, kValueType<Value>);
  bench::time_product(state, matrix, columns, static_cast<double>(matrix.nnz() * (Index{sizeof(Value)} + 2)));
}

}  // namespace

int main(int argc, char** argv) {
  for (const double sparsity : {0.5, 0.7, 0.9, 0.95})
    for (const Index columns : {1, 4, 8}) {
      const auto name = [&](const char* format, sparse_engine::ValueType type) {
        std::ostringstream text;
        text << format << "/" << sparse_engine::name_of(type) << "/4096x9216/n" << columns << "/" << sparsity;
        return text.str();
      };
      for_each_type(sparse_engine::BitmaskValues{}, [&]<class Value>() {
        bench::add(name("bitmask", kValueType<Value>), bitmask<Value>, Index{4096}, Index{9216}, columns, sparsity);
      });
      for_each_type(sparse_engine::CsrValues{}, [&]<class Value>() {
        bench::add(name("csr", kValueType<Value>), csr<Value>, Index{4096}, Index{9216}, columns, sparsity);
      });
    }
  return bench::run_all(argc, argv);
}
