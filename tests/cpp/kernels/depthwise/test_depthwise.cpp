#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

struct Plane {
  Index size, stride, height, width, pad_top, pad_left, rows, columns;
};

// Of a plane between pages that cannot be touched, into one that is watched.
void expect_plane(const Plane& p, Flush side, Activation activation) {
  SCOPED_TRACE(std::to_string(p.size) + " x " + std::to_string(p.size) + ", stride " + std::to_string(p.stride) + ", " +
               std::to_string(p.height) + " x " + std::to_string(p.width) + " to " + std::to_string(p.rows) + " x " +
               std::to_string(p.columns));
  const std::vector<float> x = reals(p.height * p.width, 81), taps = reals(p.size * p.size, 82);
  const float bias = 0.25f;
  const Weights w{1, p.size * p.size, taps};
  Guarded<float> in(x, side), out(std::vector<float>(p.rows * p.columns, kNaN), side);
  kernels().depthwise_plane({.x = in.data(),
                             .x_row = p.width,
                             .height = p.height,
                             .width = p.width,
                             .first_row = -p.pad_top,
                             .pad_left = p.pad_left,
                             .size = static_cast<int>(p.size),
                             .stride = static_cast<int>(p.stride),
                             .taps = taps.data(),
                             .bias = bias,
                             .activation = activation,
                             .y = out.data(),
                             .y_row = p.columns,
                             .rows = p.rows,
                             .columns = p.columns});
  Expected expected;
  for (Index row = 0; row < p.rows; ++row)
    for (Index column = 0; column < p.columns; ++column)
      add_output(
          w, 0, {bias}, activation,
          [&](Index tap) -> double {
            const Index r = row * p.stride - p.pad_top + tap / p.size, c = column * p.stride - p.pad_left + tap % p.size;
            return r < 0 || r >= p.height || c < 0 || c >= p.width ? 0 : x[r * p.width + c];
          },
          expected);
  expect_within_bound({out.span().begin(), out.span().end()}, expected);
  EXPECT_TRUE(out.untouched());
}

TEST(DepthwisePlane, EqualsTheDefinitionOnAllSizes) {
  for_each_isa([&] {
    for (const Index size : {3, 5, 7})
      for (const Index stride : {1, 2})
        for (const Index side : {1, 2, 3, 7, 8, 13, 16, 17, 30, 33, 50}) {
          const Index pad = size / 2, out = (side + 2 * pad - size) / stride + 1, wide = side + 5;
          expect_plane({size, stride, side, wide, pad, pad, out, (wide + 2 * pad - size) / stride + 1}, Flush::end,
                       Activation::none);
          expect_plane({size, stride, wide, side, pad, pad, (wide + 2 * pad - size) / stride + 1, out}, Flush::beginning,
                       Activation::relu6);
        }
  });
}

TEST(DepthwisePlane, PadsOnEitherSideAndBeyondWhatThereIs) {
  for_each_isa([&] {
    for (const Flush side : {Flush::end, Flush::beginning}) {
      expect_plane({3, 1, 9, 20, 0, 0, 7, 18}, side, Activation::none);  // none
      expect_plane({3, 2, 9, 20, 0, 1, 4, 10}, side, Activation::silu);  // TensorFlow's "same"
      expect_plane({5, 1, 4, 6, 6, 7, 12, 40}, side, Activation::none);  // outputs of padding alone
      expect_plane({7, 2, 2, 1, 3, 3, 1, 1}, side, Activation::gelu);
      expect_plane({3, 1, 12, 40, -3, -4, 6, 30}, side, Activation::relu);  // from within the plane on
    }
  });
}

}  // namespace
}  // namespace sparse_engine
