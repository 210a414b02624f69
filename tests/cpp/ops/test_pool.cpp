#include "ops/pool.hpp"

#include <array>

#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

void run(const Plan& plan, const std::vector<float>& x, std::vector<float>& y) {
  std::vector<float> workspace(plan.workspace_bytes() / 4 + 1, kNaN);
  plan.run({x.data(), y.data(), {}}, workspace.data());
}

TEST(Pool, IsWhatEveryWindowHolds) {
  for (const bool maximum : {true, false})
    for (const bool counts : {false, true})
      for (const int threads : {1, 3})
        for (const auto& s : {PoolShape{maximum, 3, 3, 2, 2, 1, 1, 1, 1, counts},
                              {maximum, 2, 3, 1, 2, 0, 1, 0, 0, counts},
                              {maximum, 2, 2, 2, 2, 0, 0, 1, 1, counts}}) {
          const Index batch = 2, channels = 11, height = 9, width = 13;
          const Index out_h = pooled_size(height, s.kernel_h, s.stride_h, s.pad_top, s.pad_bottom),
                      out_w = pooled_size(width, s.kernel_w, s.stride_w, s.pad_left, s.pad_right);
          const std::vector<float> x = integers(batch * channels * height * width, 31);
          std::vector<float> y(batch * channels * out_h * out_w, kNaN);
          const ConstImages in{nullptr, batch, channels, height, width, channels * height * width, height * width, width, 1};
          const Images out{nullptr, batch, channels, out_h, out_w, channels * out_h * out_w, out_h * out_w, out_w, 1};
          run(*plan_pool(kernels(), in, s, out, threads), x, y);
          for (Index plane = 0; plane < batch * channels; ++plane)
            for (Index r = 0; r < out_h; ++r)
              for (Index c = 0; c < out_w; ++c) {
                double sum = 0, most = -kInf;
                Index inside = 0, counted = 0;
                for (Index i = r * s.stride_h - s.pad_top; i < r * s.stride_h - s.pad_top + s.kernel_h; ++i)
                  for (Index j = c * s.stride_w - s.pad_left; j < c * s.stride_w - s.pad_left + s.kernel_w; ++j) {
                    counted += i < height + s.pad_top && j < width + s.pad_left;
                    if (i < 0 || j < 0 || i >= height || j >= width) continue;
                    const float v = x[(plane * height + i) * width + j];
                    sum += v, most = std::max<double>(most, v), ++inside;
                  }
                const double expected = maximum ? most : sum / (counts ? counted : inside);
                ASSERT_NEAR(y[(plane * out_h + r) * out_w + c], expected, 1e-6 * std::abs(expected));
              }
        }
}

TEST(Pool, RefusesWindowsThatMakeNoSense) {
  EXPECT_REFUSED(pooled_size(4, 0, 1, 0, 0), "must be at least 1");
  EXPECT_REFUSED(pooled_size(4, 2, 0, 0, 0), "must be at least 1");
  EXPECT_REFUSED(pooled_size(4, 2, 1, -1, 0), "must not be negative");
  EXPECT_REFUSED(pooled_size(4, 2, 1, 2, 0), "as wide as its window");
  EXPECT_REFUSED(pooled_size(4, 7, 1, 1, 1), "reaches over 7 cells");
}

TEST(AdaptivePool, CoversEveryCellWithWindowsOfUnequalSizes) {
  for_each_isa([&] {
    for (const bool maximum : {true, false})
      for (const int threads : {1, 3})
        for (const auto& [height, width, out_h, out_w] : std::vector<std::array<Index, 4>>{
                 {7, 13, 3, 5}, {5, 5, 4, 2}, {2, 3, 7, 7}, {1, 9, 1, 4}, {8, 40, 3, 7}, {1, 1, 1, 1}}) {
          const Index batch = 2, channels = 11;
          const std::vector<float> x = integers(batch * channels * height * width, 33);
          std::vector<float> y(batch * channels * out_h * out_w + 1, kNaN);
          const ConstImages in{nullptr, batch, channels, height, width, channels * height * width, height * width, width, 1};
          const Images out{nullptr, batch, channels, out_h, out_w, channels * out_h * out_w, out_h * out_w, out_w, 1};
          run(*plan_adaptive_pool(kernels(), maximum, in, out, threads), x, y);
          ASSERT_TRUE(std::isnan(y.back()));
          for (Index plane = 0; plane < batch * channels; ++plane)
            for (Index r = 0; r < out_h; ++r)
              for (Index c = 0; c < out_w; ++c) {
                double sum = 0, most = -kInf;
                Index cells = 0;
                for (Index i = r * height / out_h; i * out_h < (r + 1) * height; ++i)
                  for (Index j = c * width / out_w; j * out_w < (c + 1) * width; ++j, ++cells) {
                    const float v = x[(plane * height + i) * width + j];
                    sum += v, most = std::max<double>(most, v);
                  }
                const double expected = maximum ? most : sum / static_cast<double>(cells);
                ASSERT_NEAR(y[(plane * out_h + r) * out_w + c], expected, 1e-6 * std::abs(expected));
              }
        }
  });
}

TEST(AdaptivePool, TakesANaNForTheMaximum) {
  for (Index at = 0; at < 9; ++at) {
    std::vector<float> x = integers(9, 34), y(2);
    x[at] = kNaN;
    run(*plan_adaptive_pool(kernels(), true, {nullptr, 1, 1, 1, 9, 9, 9, 9, 1}, {nullptr, 1, 1, 1, 2, 2, 2, 2, 1}, 1), x, y);
    EXPECT_EQ(std::isnan(y[0]), at < 5);
    EXPECT_EQ(std::isnan(y[1]), at >= 4);
  }
}

}  // namespace
}  // namespace sparse_engine
