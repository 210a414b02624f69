#include "ops/resize.hpp"

#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

struct Case {
  Index batch, channels, height, width, out_height, out_width;
};

ConstImages planes(const Case& s, Index gap) {
  const Index plane = s.height * s.width + gap;
  return {nullptr, s.batch, s.channels, s.height, s.width, s.channels * plane + gap, plane, s.width, 1};
}

std::vector<float> places(Index from, Index to, std::uint64_t seed) {
  Random random(seed);
  std::vector<float> found(2 * to);
  for (Index i = 0; i < to; ++i) {
    found[i] = static_cast<float>(random.between(0, from - 1));
    found[to + i] = i % 3 == 0 ? 0.0f : static_cast<float>(random.unit());
  }
  return found;
}

TEST(Resize, LiesBetweenTheCellsThatItsPlacesName) {
  for (const Case& s : {Case{2, 3, 5, 7, 11, 9}, {1, 1, 1, 1, 3, 2}, {3, 2, 1, 40, 1, 17}, {1, 2, 64, 64, 256, 256}})
    for (const Index gap : {0, 5})
      for (const int threads : {1, 3}) {
        const ConstImages x_at = planes(s, gap);
        const ConstImages y_shape = planes({s.batch, s.channels, s.out_height, s.out_width, 0, 0}, gap);
        const Images y_at{nullptr,          s.batch,          s.channels, s.out_height, s.out_width, y_shape.stride_n,
                          y_shape.stride_c, y_shape.stride_h, 1};
        const std::vector<float> x = reals(s.batch * x_at.stride_n, 81), rows = places(s.height, s.out_height, 82),
                                 columns = places(s.width, s.out_width, 83);
        std::vector<float> y(s.batch * y_at.stride_n + 1, kNaN);
        const auto plan = plan_resize(kernels(), x_at, y_at, threads);
        std::vector<float> workspace(plan->workspace_bytes() / 4 + 1, kNaN);
        plan->run({.x = x.data(), .y = y.data(), .epilogue = {}, .second = rows.data(), .third = columns.data()},
                  workspace.data());
        for (Index n = 0; n < s.batch; ++n)
          for (Index c = 0; c < s.channels; ++c)
            for (Index r = 0; r < s.out_height; ++r)
              for (Index q = 0; q < s.out_width; ++q) {
                const auto top = static_cast<Index>(rows[r]), left = static_cast<Index>(columns[q]);
                const double down = rows[s.out_height + r], right = columns[s.out_width + q];
                const auto cell = [&](Index i, Index j) {
                  return static_cast<double>(x[n * x_at.stride_n + c * x_at.stride_c + std::min(i, s.height - 1) * s.width +
                                               std::min(j, s.width - 1)]);
                };
                const double exact = (1 - down) * ((1 - right) * cell(top, left) + right * cell(top, left + 1)) +
                                     down * ((1 - right) * cell(top + 1, left) + right * cell(top + 1, left + 1));
                ASSERT_NEAR(y[n * y_at.stride_n + c * y_at.stride_c + r * s.out_width + q], exact, 8 * 0x1p-24);
              }
        EXPECT_TRUE(std::isnan(y.back()));
      }
}

TEST(Resize, PlacesOutsideCountAsTheNearestInside) {
  const std::vector<float> x = {1, 2, 3, 4}, rows = {-7, kNaN, 1e30f, 0, 0, 0.5f}, columns = {1, 9, 0, 0};
  const ConstImages x_at{nullptr, 1, 1, 2, 2, 4, 4, 2, 1};
  const Images y_at{nullptr, 1, 1, 3, 2, 6, 6, 2, 1};
  std::vector<float> y(6), workspace(64);
  plan_resize(kernels(), x_at, y_at, 1)
      ->run({.x = x.data(), .y = y.data(), .epilogue = {}, .second = rows.data(), .third = columns.data()}, workspace.data());
  EXPECT_EQ(y, (std::vector<float>{2, 2, 2, 2, 4, 4}));
}

TEST(Resize, RefusesPlanesWithoutCells) {
  const ConstImages x_at{nullptr, 1, 1, 0, 2, 0, 0, 2, 1};
  const Images y_at{nullptr, 1, 1, 3, 2, 6, 6, 2, 1};
  EXPECT_REFUSED(plan_resize(kernels(), x_at, y_at, 1), "both must lie in");
}

}  // namespace
}  // namespace sparse_engine
