// Images: the strided views that convolutions read and write.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "reference_conv.hpp"
#include "sparse_engine/conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// How images of one shape lie in an array of `size` floats, element (0, 0, 0, 0) at `origin`.
struct Layout {
  const char* what;
  Index stride_n, stride_c, stride_h, stride_w, origin, size;
};

std::vector<Layout> layouts(Index n, Index c, Index h, Index w) {
  const Index all = n * c * h * w;
  return {
      {"NCHW", c * h * w, h * w, w, 1, 0, all},
      {"channels last", h * w * c, 1, w * c, c, 0, all},
      {"channels last, rows and columns exchanged", h * w * c, 1, c, h * c, 0, all},
      {"rows and columns exchanged", c * h * w, h * w, 1, h, 0, all},
      {"channels before images", h * w, n * h * w, w, 1, 0, all},
      {"images innermost", 1, h * w * n, w * n, n, 0, all},
      {"cut out of larger images", c * (h + 2) * (w + 3), (h + 2) * (w + 3), w + 3, 1, w + 4, n * c * (h + 2) * (w + 3)},
      {"cut out of larger channels-last images", (h + 1) * (w + 2) * (c + 3), 1, (w + 2) * (c + 3), c + 3, 2,
       n * (h + 1) * (w + 2) * (c + 3)},
      {"every second column", 2 * c * h * w, 2 * h * w, 2 * w, 2, 1, 2 * all},
      {"upside down", c * h * w, h * w, -w, 1, (h - 1) * w, all},
      {"everything backwards", -c * h * w, -h * w, -w, -1, all - 1, all},
  };
}

// Calls `element(position in NCHW order, reference into the array)` for every element of a layout.
template <class Element>
void visit(const Layout& at, std::vector<float>& array, Index n, Index c, Index h, Index w, const Element& element) {
  Index position = 0;
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j < c; ++j)
      for (Index k = 0; k < h; ++k)
        for (Index l = 0; l < w; ++l)
          element(position++, array[at.origin + i * at.stride_n + j * at.stride_c + k * at.stride_h + l * at.stride_w]);
}

void expect_every_pair_of_layouts(const ConvCase& c) {
  SCOPED_TRACE(c.text());
  const Weights w = integer_weights(c.filters, c.cols(), 0.5, 1);
  const Csr csr = w.csr();
  const std::vector<float> x = integers(c.inputs(), 2), bias = integers(c.filters, 3);
  const Expected expected = convolution(c, w, x, bias);
  const Index out_h = c.out_height(), out_w = c.out_width();
  for_each_isa([&] {
    for (const Layout& in : layouts(c.batch, c.channels, c.height, c.width)) {
      for (const Layout& out : layouts(c.batch, c.filters, out_h, out_w)) {
        SCOPED_TRACE(std::string(in.what) + " to " + out.what);
        constexpr float kOutside = 12345;
        std::vector<float> source(in.size, kNaN), target(out.size, kOutside), y;
        visit(in, source, c.batch, c.channels, c.height, c.width, [&](Index at, float& element) { element = x[at]; });
        const ConstImages from{source.data() + in.origin,
                               c.batch,
                               c.channels,
                               c.height,
                               c.width,
                               in.stride_n,
                               in.stride_c,
                               in.stride_h,
                               in.stride_w};
        const Images to{target.data() + out.origin,
                        c.batch,
                        c.filters,
                        out_h,
                        out_w,
                        out.stride_n,
                        out.stride_c,
                        out.stride_h,
                        out.stride_w};
        conv2d(from, csr, c.shape, {.bias = bias.data(), .activation = Activation::none}, to);
        visit(out, target, c.batch, c.filters, out_h, out_w, [&](Index, float& element) {
          y.push_back(element);
          element = kOutside;
        });
        expect_exactly(y, expected);
        ASSERT_EQ(std::count(target.begin(), target.end(), kOutside), out.size) << "wrote outside y";
      }
    }
  });
}

TEST(Images, AreTakenWithAnyStridesAndNothingElseIsWritten) {
  const Conv2dParams same{.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  Conv2dParams strided = same;
  strided.stride_h = 2;
  strided.stride_w = 3;
  const Conv2dParams pointwise{.kernel_h = 1, .kernel_w = 1};
  expect_every_pair_of_layouts({same, 2, 5, 6, 7, 9});
  expect_every_pair_of_layouts({strided, 2, 5, 9, 10, 4});
  expect_every_pair_of_layouts({pointwise, 3, 8, 9, 9, 6});
  expect_every_pair_of_layouts({pointwise, 1, 8, 1, 1, 6});
}

TEST(Images, OfOneChannelManyTimesOverAreReadThroughAStrideOfZero) {
  const ConvCase c{{.kernel_h = 2, .kernel_w = 2}, 2, 6, 5, 6, 7};
  const Weights w = integer_weights(7, c.cols(), 0.5, 4);
  const std::vector<float> plane = integers(30, 5);
  std::vector<float> x, y(c.outputs(), kNaN);
  for (int i = 0; i < 12; ++i) x.insert(x.end(), plane.begin(), plane.end());
  conv2d({plane.data(), 2, 6, 5, 6, 0, 0, 6, 1}, w.csr(), c.shape, {}, output_images(c, y.data()));
  expect_exactly(y, convolution(c, w, x));
}

TEST(Images, AreNotReadOrWrittenOutsideTheCallersArrays) {
  for (const Flush side : {Flush::end, Flush::beginning}) {
    for (const ConvCase& c : {ConvCase{square(3, 1, 1), 2, 5, 7, 9, 10}, ConvCase{square(3, 2, 1), 1, 17, 8, 8, 35},
                              ConvCase{square(1, 1, 0), 3, 4, 9, 9, 5}, ConvCase{square(1, 3, 0), 2, 4, 10, 11, 5},
                              ConvCase{square(5, 1, 0), 1, 1, 5, 5, 1}, ConvCase{square(2, 2, 1), 1, 3, 33, 34, 3}}) {
      SCOPED_TRACE(c.text());
      const Weights w = integer_weights(c.filters, c.cols(), 0.6, 6);
      const Csr csr = w.csr();
      const std::vector<float> inputs = integers(c.inputs(), 7), biases = integers(c.filters, 8), empty(c.outputs(), kNaN);
      const Expected expected = convolution(c, w, inputs, biases);
      Guarded<float> x(inputs, side), bias(biases, side);
      for_each_isa([&] {
        Guarded<float> y(empty, side);
        conv2d(input_images(c, x.data()), csr, c.shape, {.bias = bias.data(), .activation = Activation::none},
               output_images(c, y.data()));
        expect_exactly(y.span(), expected);
        EXPECT_TRUE(y.untouched());
        // The same memory as channels_last.
        Guarded<float> z(empty, side);
        ConstImages from = input_images(c, x.data());
        from.stride_c = 1, from.stride_h = c.width * c.channels, from.stride_w = c.channels;
        Images to = output_images(c, z.data());
        to.stride_c = 1, to.stride_h = to.width * c.filters, to.stride_w = c.filters;
        conv2d(from, csr, c.shape, {.bias = bias.data(), .activation = Activation::relu}, to);
        EXPECT_TRUE(z.untouched());
        EXPECT_EQ(std::count_if(z.span().begin(), z.span().end(), [](float value) { return std::isnan(value); }), 0);
      });
    }
  }
}

}  // namespace
}  // namespace sparse_engine
