#include "ops/conv/planes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <set>
#include <vector>

#include "base/registry.hpp"
#include "reference_conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// Every combination that planes are packed for: strides with and without phases, padding of any side, dilations, narrow rows
// and wide ones.
std::vector<ConvCase> cases() {
  std::vector<ConvCase> all;
  for (const Index stride : {1, 2, 3})
    for (const Index width : {3, 14, 61}) all.push_back(same_size(3, stride, 2, 3, 7, width, 4));
  for (const Index left : {0, 1, 4})
    for (const Index right : {0, 2}) {
      ConvCase c = same_size(3, 1, 1, 2, 5, 40, 4);
      c.shape.pad_left = left;
      c.shape.pad_right = right;
      c.shape.pad_top = right;
      all.push_back(c);
      c.shape.dilation_w = 2;
      c.shape.dilation_h = 3;
      c.height = 11;
      all.push_back(c);
      c.shape.stride_w = 2;
      all.push_back(c);
    }
  all.push_back({{.kernel_h = 5, .kernel_w = 1, .stride_h = 2, .stride_w = 3, .pad_bottom = 9}, 1, 70, 6, 9, 4});
  all.push_back({{.kernel_h = 1, .kernel_w = 2, .pad_top = 3, .pad_left = 50}, 1, 2, 2, 5, 4});  // mostly padding
  all.push_back({{.kernel_h = 2, .kernel_w = 2}, 1, 2, 9, 48, 4});                               // rows without gaps
  return all;
}

OutputSize output(const ConvCase& c) { return {c.out_height(), c.out_width()}; }

TileShape shape_of(const ConvCase& c, const Geometry& g) {
  const Csr w = integer_weights(c.filters, c.cols(), 0.5, 1).csr();
  return planes_shape(c.shape, g, c.filters, c.channels, w);
}

// Where output position p of row r of a band finds a tap, against the definition of a convolution.
void expect_taps(const ConvCase& c, const ConstImages& x, Rows rows, Index first_row, Index band, Index first_channel) {
  const Conv2dParams& s = c.shape;
  const Geometry g = geometry(s, {band, c.out_width()}, rows);
  const TileShape shape = shape_of(c, g);
  ASSERT_EQ(shape.channel_step, g.channel_floats);
  const Index channels = c.channels - first_channel;
  for (Index image = 0; image < c.batch; ++image) {
    // NaN in what is left out: what is read must have been written, and no more than the planes.
    Guarded<float> planes(std::vector<float>(channels * g.channel_floats, kNaN), Flush::end);
    pack_planes(kernels(), x, s, g, image, first_row, first_channel, channels, planes.data());
    ASSERT_TRUE(planes.untouched());
    for (const float v : planes.span()) ASSERT_EQ(v, v) << "part of the planes was left as it was";
    for (Index channel = 0; channel < channels; ++channel)
      for (Index tap = 0; tap < s.kernel_h * s.kernel_w; ++tap)
        for (Index r = 0; r < band; ++r)
          for (Index p = 0; p < c.out_width(); ++p) {
            const Index h = (first_row + r) * s.stride_h - s.pad_top + tap / s.kernel_w * s.dilation_h;
            const Index v = p * s.stride_w - s.pad_left + tap % s.kernel_w * s.dilation_w;
            const bool inside = h >= 0 && h < c.height && v >= 0 && v < c.width;
            const float expected =
                inside ? x.data[image * x.stride_n + (first_channel + channel) * x.stride_c + h * x.stride_h + v * x.stride_w]
                       : 0.0f;
            ASSERT_EQ(planes.data()[channel * g.channel_floats + shape.taps[tap] + r * g.pitch + p], expected)
                << "channel " << channel << ", tap " << tap << ", row " << first_row + r << ", position " << p;
          }
  }
}

TEST(Planes, HoldEachTapOfAnOutputAtAConstantFromIt) {
  for (const ConvCase& c : cases()) {
    SCOPED_TRACE(c.text());
    const std::vector<float> x = reals(c.inputs(), 1);
    for_each_isa([&] {
      for (const Rows rows : {Rows::close, Rows::aligned})
        expect_taps(c, input_images(c, x.data()), rows, 0, c.out_height(), 0);
    });
  }
}

TEST(Planes, HoldTheRowsOfABandAndTheChannelsOfAGroup) {
  for (const ConvCase& c : cases()) {
    SCOPED_TRACE(c.text());
    const std::vector<float> x = reals(c.inputs(), 1);
    for (Index first = 0; first < c.out_height(); first += 2)
      expect_taps(c, input_images(c, x.data()), Rows::close, first, std::min<Index>(2, c.out_height() - first), 1);
  }
}

TEST(Planes, AreTheSameFromChannelsLastAndFromPartsOfImages) {
  for (const ConvCase& c : cases()) {
    SCOPED_TRACE(c.text());
    const std::vector<float> x = reals(4 * c.inputs() + c.batch * c.channels, 1);
    const Index pixels = c.height * c.width;
    const ConstImages last{x.data(),  c.batch, c.channels, c.height, c.width, c.channels * pixels, 1, c.width * c.channels,
                           c.channels};
    const ConstImages part{x.data() + 1, c.batch,     c.channels, c.height, c.width, 4 * c.channels * pixels,
                           4 * pixels,   4 * c.width, 2};
    for_each_isa([&] {
      expect_taps(c, last, Rows::close, 0, c.out_height(), 0);
      expect_taps(c, part, Rows::close, 0, c.out_height(), 0);
    });
  }
}

TEST(Planes, OfSlicesFollowOneAnotherChannelByChannelThoseOutsideAreZeros) {
  const ConvCase c = same_size(3, 1, 4, 6, 5, 7, 4);  // four slices of six channels
  const std::vector<float> x = reals(c.inputs(), 1);
  const Geometry g = geometry(c.shape, output(c));
  for (const Slices& slices : {Slices{.taps = 3, .stride = 2, .dilation = 1, .before = 1, .count = 4},
                               Slices{.taps = 2, .stride = 1, .dilation = 3, .before = 0, .count = 4}})
    for (const Index image : {0, 1, 2}) {
      ConstImages from = input_images(c, x.data());
      from.channels *= slices.taps;
      Guarded<float> planes(std::vector<float>(from.channels * g.channel_floats, kNaN), Flush::end);
      std::vector<float> one(c.channels * g.channel_floats);
      pack_slices(kernels(), from, slices, c.shape, g, image, 0, planes.data());
      ASSERT_TRUE(planes.untouched());
      for (Index tap = 0; tap < slices.taps; ++tap) {
        const Index slice = image * slices.stride + tap * slices.dilation - slices.before;
        std::fill(one.begin(), one.end(), 0.0f);
        if (slice >= 0 && slice < 4)
          pack_planes(kernels(), input_images(c, x.data()), c.shape, g, slice, 0, 0, c.channels, one.data());
        for (Index channel = 0; channel < c.channels; ++channel)
          for (Index i = 0; i < g.channel_floats; ++i)
            ASSERT_EQ(planes.data()[(channel * slices.taps + tap) * g.channel_floats + i], one[channel * g.channel_floats + i]);
      }
    }
}

TEST(Planes, OfNeighbouringRowsShareTheirZerosAtStrideOne) {
  ConvCase c = same_size(5, 1, 1, 1, 8, 20, 1);
  EXPECT_EQ(geometry(c.shape, output(c)).pitch, 20 + 4 - 2);
  c.shape.pad_left = 0;
  EXPECT_EQ(geometry(c.shape, output(c)).pitch, 18 + 4);
  EXPECT_EQ(geometry(c.shape, output(c), Rows::aligned).pitch, 32);
}

TEST(Planes, OfChannelsLieAnOddNumberOfCacheLinesApart) {
  for (const ConvCase& c : cases()) {
    const Geometry g = geometry(c.shape, output(c));
    EXPECT_EQ(g.channel_floats % (2 * kLineFloats), kLineFloats) << c.text();
    EXPECT_GE(g.channel_floats, g.phase_floats * g.phases_h * g.phases_w) << c.text();
  }
}

TEST(Planes, HaveThePhasesThatSomeTapReadsAndNoOther) {
  for (const auto& [kernel, stride, dilation, phases] : std::vector<std::array<Index, 4>>{
           {3, 1, 1, 1}, {3, 2, 1, 2}, {3, 2, 2, 1}, {1, 2, 1, 1}, {2, 3, 1, 2}, {3, 4, 2, 3}, {5, 3, 1, 3}, {2, 4, 3, 4}}) {
    Conv2dParams s = square(kernel, stride, 0);
    s.dilation_w = dilation;
    const Geometry g = geometry(s, {4, 4});
    EXPECT_EQ(g.phases_w, phases) << kernel << " taps, stride " << stride << ", dilation " << dilation;
  }
}

TEST(Planes, AreOneLongRowOfPositions) {
  const ConvCase c = same_size(3, 1, 1, 1, 6, 10, 1);
  const Geometry g = geometry(c.shape, output(c));
  EXPECT_EQ(g.positions, 5 * g.pitch + 10);
  EXPECT_EQ(g.grid().columns(), g.positions);
  EXPECT_EQ(g.grid(), (ColumnGrid{6, 10, g.pitch}));
}

TEST(Planes, AreNotNeededWhereOneTapReadsWithoutPadding) {
  EXPECT_TRUE(geometry(square(1, 1, 0), {4, 4}).pointwise);
  EXPECT_TRUE(geometry(square(1, 2, 0), {4, 4}).pointwise);
  for (const auto side :
       {&Conv2dParams::pad_top, &Conv2dParams::pad_left, &Conv2dParams::pad_bottom, &Conv2dParams::pad_right}) {
    Conv2dParams s = square(1, 1, 0);
    s.*side = 1;
    EXPECT_FALSE(geometry(s, {4, 4}).pointwise);
  }
  EXPECT_FALSE(geometry({.kernel_h = 1, .kernel_w = 2}, {4, 4}).pointwise);
  EXPECT_FALSE(geometry({.kernel_h = 2, .kernel_w = 1}, {4, 4}).pointwise);
}

TEST(Planes, AreTakenAPowerOfTwoOfChannelsAtATime) {
  std::set<Index> seen;
  for (const Index channels : {1, 3, 40, 200})
    for (const Index width : {7, 56}) {
      const ConvCase c = same_size(3, 1, 1, channels, width, width, 16);
      const Index block = shape_of(c, geometry(c.shape, output(c))).block_channels;
      EXPECT_TRUE(std::has_single_bit(static_cast<std::uint64_t>(block))) << c.text();
      EXPECT_LT(block, 2 * channels) << c.text();
      seen.insert(block);
    }
  EXPECT_GT(seen.size(), 2u);
}

TEST(Planes, OfManyTapsAreTakenFewAtATime) {
  const ConvCase c = same_size(181, 1, 1, 4, 4, 4, 2);  // 32761 taps: two channels are within kMaxTaps, four are not
  const TileShape shape = shape_of(c, geometry(c.shape, output(c)));
  EXPECT_LE(shape.block_channels * 181 * 181, kMaxTaps);
  EXPECT_EQ(shape.taps.size(), 181u * 181u);
}

TEST(Planes, TooLargeForOffsetsAreRefused) {
  const Index side = Index{1} << 20;
  const ConvCase c = same_size(3, 1, 1, 4, 2 * side, 4 * side, 4);
  EXPECT_REFUSED(shape_of(c, geometry(c.shape, output(c))), "too large");
  EXPECT_REFUSED(geometry(square(3, 1, 0), {Index{1} << 62, 8}), "plane");
}

}  // namespace
}  // namespace sparse_engine
