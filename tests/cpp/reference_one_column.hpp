// What every layout of CSR for one column has to keep.
#pragma once

#include <vector>

#include "reference.hpp"
#include "sparse_engine/csr.hpp"

namespace sparse_engine::reference {

// Integers exactly, and the same bits however many threads there are.
inline void expect_one_column_is_exact_on_any_number_of_threads(Index rows, Index cols, double density) {
  const Weights exact = integer_weights(rows, cols, density, 3), w = real_weights(rows, cols, density, 4);
  const std::vector<float> counts = integers(cols, 5), x = reals(cols, 6), bias = integers(rows, 7);
  const Expected expected = product(exact, counts, 1, bias);
  const Csr exact_csr = exact.csr(), csr = w.csr();
  for_each_isa([&] {
    std::vector<float> serial;
    for (const int threads : {1, 2, 3, 8}) {
      SCOPED_TRACE(threads);
      const Threads used(threads);
      expect_exactly(multiplied(exact_csr, counts, 1, bias), expected);
      const std::vector<float> y = multiplied(csr, x, 1);
      if (serial.empty()) serial = y;
      expect_same_bits(y, serial);
    }
  });
}

}  // namespace sparse_engine::reference
