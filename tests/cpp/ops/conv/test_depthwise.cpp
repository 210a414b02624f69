#include "ops/conv/depthwise.hpp"

#include <cmath>

#include "base/registry.hpp"
#include "base/tuning.hpp"
#include "reference_conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(DepthwiseFilter, KnowsSquaresOfThreeSizesAndTwoStrides) {
  for (const Index size : {1, 2, 3, 4, 5, 6, 7, 9})
    for (const Index stride : {1, 2, 3})
      EXPECT_EQ(DepthwiseFilter::knows(square(size, stride, 0)), (size == 3 || size == 5 || size == 7) && stride <= 2);
  Conv2dParams s = square(3, 1, 1);
  s.dilation_w = 2;
  EXPECT_FALSE(DepthwiseFilter::knows(s));
  s = square(3, 1, 1);
  s.stride_h = 2;
  EXPECT_FALSE(DepthwiseFilter::knows(s));
  s = square(3, 1, 1);
  s.kernel_h = 5;
  EXPECT_FALSE(DepthwiseFilter::knows(s));
}

TEST(DepthwiseFilter, TakesNoMatrixWithMissingTaps) {
  Weights w = real_weights(4, 9, 1.0, 83);
  EXPECT_TRUE(DepthwiseFilter::takes(w.csr(), square(3, 1, 1)));
  w.values[13] = 0;
  EXPECT_FALSE(DepthwiseFilter::takes(w.csr(), square(3, 1, 1)));
}

TEST(DepthwiseFilter, TakesWhatIsLeftOutForPadding) {
  const ConvCase c = same_size(3, 2, 1, 2, 11, 9, 2);
  const Weights w = integer_weights(2, 9, 1.0, 84);
  const std::vector<float> x = integers(c.inputs(), 85), bias = integers(2, 86);
  Conv2dParams s = c.shape;
  s.groups = 2;
  const ConvCase grouped{s, 1, 2, 11, 9, 2};
  const Expected expected = convolution(grouped, w, x, bias);
  for_each_isa([&] {
    const DepthwiseFilter filter(kernels(), w.csr(), s);
    for (Index channel = 0; channel < 2; ++channel)
      for (Index first = 0; first < 6; ++first) {  // each row by itself, from the rows that it reads
        const Index begin = std::max<Index>(0, 2 * first - 1), end = std::min<Index>(11, 2 * first + 2);
        std::vector<float> y(5, kNaN);
        filter.run(channel, 1,
                   {.data = x.data() + (channel * 11 + begin) * 9,
                    .channel_stride = 0,
                    .stride = 9,
                    .first = begin,
                    .count = end - begin},
                   9, {.bias = bias.data()},
                   {.data = y.data(), .channel_stride = 0, .stride = 5, .first = first, .rows = 1, .columns = 5});
        for (Index column = 0; column < 5; ++column)
          EXPECT_EQ(y[column], expected.values[(channel * 6 + first) * 5 + column])
              << channel << ", " << first << ", " << column;
      }
  });
}

// Planes that are activated together: as many as fit at once, their rows without gaps, and others. Lanes are alike everywhere,
// so to the bit what one row at a time gives.
TEST(DepthwiseFilter, ActivatesPlanesTogetherWithoutChangingBits) {
  for (const auto& [channels, side] : {std::pair<Index, Index>{100, 7}, {3, 14}, {2, 70}}) {
    const Index plane = side * side;
    ASSERT_TRUE(channels * plane > Tuning::session.activated_together || channels == 3);
    const Weights w = real_weights(channels, 25, 1.0, 87);
    const std::vector<float> x = reals(channels * plane, 88), bias = reals(channels, 89);
    const PlaneRows input{.data = x.data(), .channel_stride = plane, .stride = side, .first = 0, .count = side};
    for_each_isa([&] {
      const DepthwiseFilter filter(kernels(), w.csr(), square(5, 1, 2));
      for (const Activation activation : {Activation(Activation::silu), Activation(Activation::relu6), Activation()}) {
        const Epilogue epilogue{.bias = bias.data(), .activation = activation};
        std::vector<float> rows(channels * plane, kNaN);
        for (Index channel = 0; channel < channels; ++channel)
          for (Index row = 0; row < side; ++row) {
            PlaneRows own = input;
            own.data += channel * plane;
            std::vector<float> y(2 * side, kNaN);  // of a stride that is not its width
            filter.run(channel, 1, own, side, epilogue,
                       {.data = y.data(), .channel_stride = 0, .stride = 2 * side, .first = row, .rows = 1, .columns = side});
            std::copy_n(y.begin(), side, rows.begin() + channel * plane + row * side);
          }
        for (const Index gap : {0, 5}) {
          std::vector<float> y(channels * (plane + gap), kNaN);
          filter.run(
              0, channels, input, side, epilogue,
              {.data = y.data(), .channel_stride = plane + gap, .stride = side, .first = 0, .rows = side, .columns = side});
          for (Index channel = 0; channel < channels; ++channel) {
            const auto own = y.begin() + channel * (plane + gap);
            expect_same_bits(std::vector<float>(own, own + plane),
                             std::vector<float>(rows.begin() + channel * plane, rows.begin() + (channel + 1) * plane));
            for (Index i = 0; i < gap; ++i) ASSERT_TRUE(std::isnan(own[plane + i]));
          }
        }
      }
    });
  }
}

}  // namespace
}  // namespace sparse_engine
