#include "ops/matmul.hpp"

#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Matmul, IsTheProductOfEveryItem) {
  for_each_isa([&] {
    for (const MatmulShape s : {MatmulShape{1, 1, 1, 1, false},
                                {3, 5, 7, 100, false},
                                {2, 40, 64, 49, true},
                                {4, 1, 30, 96, true},
                                {2, 3, 5, 0, false},
                                {2, 0, 5, 4, false},
                                {0, 3, 5, 4, true},
                                {1, 2, 0, 3, false}})
      for (const int threads : {1, 3}) {
        const std::vector<float> x = integers(s.batch * s.rows * s.depth + 1, 71),
                                 b = integers(s.batch * s.depth * s.columns + 1, 72);
        std::vector<float> y(s.batch * s.rows * s.columns + 1, kNaN);
        const auto plan = plan_matmul(kernels(), s, threads);
        std::vector<float> workspace(plan->workspace_bytes() / 4, kNaN);
        plan->run({.x = x.data(), .y = y.data(), .epilogue = {}, .second = b.data()}, workspace.data());
        for (Index i = 0; i < s.batch; ++i)
          for (Index r = 0; r < s.rows; ++r)
            for (Index c = 0; c < s.columns; ++c) {
              double sum = 0;
              for (Index k = 0; k < s.depth; ++k)
                sum += double{x[(i * s.rows + r) * s.depth + k]} *
                       b[i * s.depth * s.columns + (s.transposed ? c * s.depth + k : k * s.columns + c)];
              ASSERT_EQ(y[(i * s.rows + r) * s.columns + c], sum) << "item " << i << ", " << r << ", " << c;
            }
        ASSERT_TRUE(std::isnan(y.back()));
      }
  });
}

TEST(Matmul, RefusesSizesPast63Bits) {
  constexpr Index kLarge = Index{1} << 40;
  EXPECT_REFUSED(plan_matmul(kernels(), {1, kLarge, kLarge, 3, false}, 1), "63 bits");
}

}  // namespace
}  // namespace sparse_engine
