#include "ops/copy.hpp"

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// Every index one after another, read and written where the axes say.
std::vector<float> copied(const std::vector<CopyAxis>& axes, Index first, const std::vector<float>& x, std::vector<float> y) {
  Index all = 1;
  for (const CopyAxis& axis : axes) all *= axis.length;
  for (Index i = 0; i < all; ++i) {
    Index rest = i, from = first, to = 0;
    for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
      from += rest % axis->length * axis->x_stride;
      to += rest % axis->length * axis->y_stride;
      rest /= axis->length;
    }
    y[to] = x[from];
  }
  return y;
}

void expect_copied(const std::vector<CopyAxis>& axes, Index first) {
  Index reach = first, extent = 0;
  for (const CopyAxis& axis : axes) {
    reach += (axis.length - 1) * axis.x_stride;
    extent += (axis.length - 1) * axis.y_stride;
  }
  const std::vector<float> x = integers(reach + 1, 61), before(extent + 2, 77.0f);
  const std::vector<float> expected = copied(axes, first, x, before);
  for (const int threads : {1, 3}) {
    std::vector<float> y = before;
    plan_copy(axes, first, threads)->run({.x = x.data(), .y = y.data(), .epilogue = {}}, nullptr);
    expect_same_bits(y, expected);
  }
}

TEST(Copy, JoinsRunsInALargerTensor) {
  expect_copied({{5, 6, 9}, {6, 1, 1}}, 0);
  expect_copied({{2, 20000, 30000}, {20000, 1, 1}}, 0);
}

TEST(Copy, TakesAPart) {
  expect_copied({{4, 12 * 10, 5 * 3}, {5, 2 * 10, 3}, {3, 3, 1}}, 11);
  expect_copied({{1, 7, 3}, {3, 2, 1}}, 1);
}

TEST(Copy, Permutes) {
  expect_copied({{3, 35 * 40, 35 * 40}, {40, 1, 35}, {35, 40, 1}}, 0);  // a transposition of planes
  expect_copied({{200, 1, 300}, {300, 200, 1}}, 0);                     // larger than a task
  expect_copied({{2, 1, 60}, {3, 2, 20}, {4, 6, 5}, {5, 24, 1}}, 0);    // all of it turned round
  expect_copied({{4, 7, 21}, {3, 28, 7}, {7, 1, 1}}, 0);                // channels are shuffled
}

TEST(Copy, Repeats) {
  expect_copied({{30, 0, 900}, {30, 1, 30}, {30, 0, 1}}, 0);
  expect_copied({{9000, 0, 1}}, 0);
  expect_copied({}, 0);
}

TEST(Copy, OfRandomStridesIsExact) {
  Random random(62);
  for (int repeat = 0; repeat < 300; ++repeat) {
    std::vector<CopyAxis> axes;
    Index y_stride = 1;
    for (Index rank = random.between(0, 5); rank > 0; --rank) {
      const Index length = random.between(1, 6);
      axes.push_back({length, random.between(0, 9), y_stride});
      y_stride *= length + random.between(0, 1);
    }
    for (std::size_t i = axes.size(); i > 1; --i) std::swap(axes[i - 1], axes[random.between(0, i - 1)]);
    expect_copied(axes, random.between(0, 3));
  }
}

TEST(Copy, OfNothingHasNoTasks) {
  EXPECT_EQ(plan_copy({{3, 4, 4}, {0, 1, 1}}, 0, 2)->tasks(), 0);
  EXPECT_EQ(plan_copy({{0, 4, 4}, {3, 1, 1}, {2, 1, 1}}, 0, 2)->tasks(), 0);
  EXPECT_REFUSED(plan_copy({{Index{1} << 32, 0, 1}, {Index{1} << 32, 1, 5}}, 0, 1), "63 bits");
}

}  // namespace
}  // namespace sparse_engine
