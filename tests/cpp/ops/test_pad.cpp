#include "ops/pad.hpp"

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

void expect_padded(const std::vector<PadAxis>& axes) {
  Index inner = 1, all = 1;
  for (const PadAxis& axis : axes) {
    inner *= axis.length;
    all *= axis.before + axis.length + axis.after;
  }
  const std::vector<float> x = integers(inner, 63);
  const float number = -0.5f;
  std::vector<float> expected;
  for (Index i = 0; i < all; ++i) {
    Index rest = i, from = 0, pitch = 1;
    bool inside = true;
    for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
      const Index length = axis->before + axis->length + axis->after, at = rest % length - axis->before;
      inside = inside && at >= 0 && at < axis->length;
      from += at * pitch;
      pitch *= axis->length;
      rest /= length;
    }
    expected.push_back(inside ? x[from] : number);
  }
  expected.push_back(kNaN);
  for (const int threads : {1, 3}) {
    std::vector<float> y(all + 1, kNaN);
    plan_pad(axes, threads)->run({.x = x.data(), .y = y.data(), .epilogue = {}, .second = &number}, nullptr);
    ASSERT_TRUE(std::isnan(y.back()));
    y.back() = expected.back();
    expect_same_bits(y, expected);
  }
}

TEST(Pad, PutsTheNumberAroundEveryAxis) {
  expect_padded({{0, 2, 0}, {0, 3, 0}, {1, 5, 2}, {3, 4, 0}});
  expect_padded({{0, 2, 0}, {4, 8, 4}, {0, 7, 0}, {0, 9, 0}});  // channels of zeros
  expect_padded({{1, 2, 1}, {1, 2, 1}, {1, 2, 1}});
  expect_padded({{0, 3, 0}, {0, 20000, 1}});
  expect_padded({{5, 1, 0}});
  expect_padded({});
}

TEST(Pad, OfNothingIsTheNumberAlone) {
  expect_padded({{0, 2, 0}, {1, 0, 2}});
  expect_padded({{0, 0, 0}, {1, 3, 2}});
}

TEST(Pad, RefusesMoreThanMemoryHas) {
  EXPECT_REFUSED(plan_pad({{Index{1} << 40, 1, 0}, {Index{1} << 40, 1, 0}}, 1), "63 bits");
}

}  // namespace
}  // namespace sparse_engine
