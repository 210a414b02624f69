// One matrix, images of many sizes: few layouts are kept, and most new ones are old ones moved.
#include <gtest/gtest.h>

#include <vector>

#include "reference_conv.hpp"
#include "sparse_engine/bsr.hpp"
#include "sparse_engine/conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

std::vector<ConvCase> kinds() {
  std::vector<ConvCase> cases;
  for (const Index stride : {1, 2}) {
    cases.push_back(same_size(3, stride, 1, 12, 1, 1, 40));
    cases.push_back(same_size(1, stride, 1, 24, 1, 1, 40));
  }
  ConvCase dilated = same_size(3, 1, 1, 12, 1, 1, 40);
  dilated.shape.dilation_h = dilated.shape.dilation_w = 2;
  dilated.shape.pad_top = dilated.shape.pad_left = dilated.shape.pad_bottom = dilated.shape.pad_right = 2;
  cases.push_back(dilated);
  ConvCase grouped = same_size(3, 1, 1, 12, 1, 1, 40);
  grouped.shape.groups = 2;
  cases.push_back(grouped);
  return cases;
}

const std::vector<Index> kSides = {8, 9, 12, 16, 17, 20, 24, 30, 32, 41, 16, 5};

template <class Make>
void expect_as_of_a_fresh_matrix(const Make& make) {
  for (ConvCase c : kinds()) {
    const Weights w = integer_weights(c.filters, c.cols(), 0.4, 1);
    const auto matrix = make(w);
    for (const Index side : kSides) {
      c.height = side;
      c.width = side + side % 3;
      const std::vector<float> x = integers(c.inputs(), 2);
      SCOPED_TRACE(c.text());
      expect_exactly(convolved(c, matrix, x), convolution(c, w, x));
    }
  }
}

TEST(ConvSizes, EverySizeIsComputedAsByAFreshMatrix) {
  expect_as_of_a_fresh_matrix([](const Weights& w) { return w.csr(); });
  expect_as_of_a_fresh_matrix([](const Weights& w) { return Bsr::from_dense(w.values.data(), w.rows, w.cols, {4, 1}); });
}

TEST(ConvSizes, TwelveSizesTakeLittleMoreRoomThanTwo) {
  ConvCase c = same_size(3, 1, 1, 32, 8, 8, 64);
  const Csr csr = real_weights(c.filters, c.cols(), 0.2, 3).csr();
  Index first = 0;
  for (const Index side : kSides) {
    c.height = c.width = side;
    convolved(c, csr, reals(c.inputs(), 4));
    if (first == 0) first = csr.bytes();
    EXPECT_LE(csr.bytes(), 2 * first) << side;
  }
}

}  // namespace
}  // namespace sparse_engine
