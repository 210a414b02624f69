#include "ops/conv/depthwise.hpp"

#include "base/registry.hpp"
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
        filter.run(channel, {.data = x.data() + (channel * 11 + begin) * 9, .stride = 9, .first = begin, .count = end - begin},
                   9, {.bias = bias.data()}, first, 1, 5, y.data(), 5);
        for (Index column = 0; column < 5; ++column)
          EXPECT_EQ(y[column], expected.values[(channel * 6 + first) * 5 + column])
              << channel << ", " << first << ", " << column;
      }
  });
}

}  // namespace
}  // namespace sparse_engine
