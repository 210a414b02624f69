#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(PoolRow, FoldsWhatLiesUnderEachWindow) {
  for_each_isa([&] {
    for (const bool maximum : {true, false})
      for (const Index rows : {1, 2, 3})
        for (const Index width : {1, 5, 8, 19, 40})
          for (const Index stride : {1, 2, 3}) {
            constexpr Index kernel = 3, left = 1, right = 1;
            const Index outputs = (left + width + right - kernel) / stride + 1;
            if (width + left + right < kernel) continue;
            const std::vector<float> x = integers(rows * (width + 2), 21), scales(outputs, 0.5f);
            std::vector<float> folded(left + width + right, kNaN), y(outputs + 1, kNaN);
            kernels().pool_row({maximum, x.data(), rows, width + 2, width, left, right, kernel, stride, outputs, scales.data(),
                                folded.data(), y.data()});
            for (Index out = 0; out < outputs; ++out) {
              float expected = maximum ? -kInf : 0;
              for (Index column = out * stride - left; column < out * stride - left + kernel; ++column)
                for (Index row = 0; row < rows; ++row)
                  if (column >= 0 && column < width) {
                    const float v = x[row * (width + 2) + column];
                    expected = maximum ? std::max(expected, v) : expected + v;
                  }
              ASSERT_EQ(y[out], maximum ? expected : expected * 0.5f) << rows << " × " << width << ", output " << out;
            }
            ASSERT_TRUE(std::isnan(y[outputs]));
          }
  });
}

TEST(PoolRow, TakesANaNForTheMaximum) {
  for_each_isa([&] {
    for (Index at = 0; at < 3 * 21; ++at) {
      std::vector<float> x = integers(3 * 21, 22), folded(21), y(19);
      x[at] = kNaN;
      kernels().pool_row({true, x.data(), 3, 21, 21, 0, 0, 3, 1, 19, nullptr, folded.data(), y.data()});
      for (Index out = 0; out < 19; ++out)
        ASSERT_EQ(std::isnan(y[out]), at % 21 >= out && at % 21 < out + 3) << "NaN at " << at << ", output " << out;
    }
  });
}

}  // namespace
}  // namespace sparse_engine
