#include "ops/spmm/gemv_product.hpp"

#include <gtest/gtest.h>

#include <optional>

#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(GemvProduct, OutlivesTheMatrixItMultipliesBy) {
  const Weights w = integer_weights(21, 100, 0.4, 1);
  const std::vector<float> x = integers(100, 2);
  const Expected expected = product(w, x, 1);
  for_each_isa([&] {
    std::optional<GemvProduct> gemv;
    {
      const Csr csr = w.csr();
      gemv.emplace(kernels(), csr, 1);
    }
    std::vector<float> y(21, kNaN);
    SkinnyJob job{};
    job.kernels = &gemv->table();
    job.row_end = 21;
    job.columns = 1;
    job.x = x.data();
    job.x_stride = gemv->strides().column;
    job.y = y.data();
    job.y_row_stride = job.y_column_stride = 1;
    gemv->multiply(job);
    expect_exactly(y, expected);
  });
}

}  // namespace
}  // namespace sparse_engine
