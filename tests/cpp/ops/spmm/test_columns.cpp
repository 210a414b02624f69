#include "ops/spmm/columns.hpp"

#include <gtest/gtest.h>

#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Columns, GoIntoPanelsAcrossRowsAndImages) {
  constexpr Index kImages = 2, kChannels = 3, kHeight = 4, kWidth = 5, kPitch = 32;
  const std::vector<float> x = reals(kImages * kChannels * 10 * 20, 1);
  for (const Index apart : {1, 2}) {  // pixels of x that are left out between two columns
    const ConstImages view{x.data(), kImages, kChannels, kHeight, kWidth, kChannels * 10 * 20, 10 * 20, apart == 1 ? 5 : 20,
                           apart};
    for (const Index first : {0, 3, 17})
      for_each_isa([&] {
        constexpr Index kCount = 20;
        std::vector<float> panel(kChannels * kPitch, kNaN);
        pack_panel(kernels(), {kHeight, kWidth, kWidth}, view, first, kCount, panel.data(), kPitch);
        for (Index c = 0; c < kChannels; ++c)
          for (Index i = 0; i < kPitch; ++i) {
            const Index p = first + i, image = p / 20, h = p % 20 / kWidth, w = p % kWidth;
            const Index at = image * view.stride_n + c * view.stride_c + h * view.stride_h + w * view.stride_w;
            ASSERT_EQ(panel[c * kPitch + i], i < kCount ? x[at] : 0.0f);
          }
      });
  }
}

TEST(Columns, BetweenRowsAreLeftOutOfResults) {
  constexpr Index kChannels = 3, kHeight = 4, kWidth = 5, kPitch = 7;
  const ColumnGrid grid{kHeight, kWidth, kPitch};
  const std::vector<float> result = reals(kChannels * kTileColumns, 1);
  for_each_isa([&] {
    std::vector<float> y(kChannels * kHeight * kWidth, kNaN), back(result.size(), -1.0f);
    unpack_result(kernels(), grid, result.data(), kTileColumns, kChannels, 0, grid.columns(),
                  {y.data(), 1, kChannels, kHeight, kWidth, 0, kHeight * kWidth, kWidth, 1});
    pack_result(kernels(), grid, {y.data(), 1, kChannels, kHeight, kWidth, 0, kHeight * kWidth, kWidth, 1}, kChannels, 0,
                grid.columns(), back.data(), kTileColumns);
    for (Index c = 0; c < kChannels; ++c)
      for (Index p = 0; p < kTileColumns; ++p) {
        const bool output = p < grid.columns() && p % kPitch < kWidth;
        if (output) {
          ASSERT_EQ(y[(c * kHeight + p / kPitch) * kWidth + p % kPitch], result[c * kTileColumns + p]);
        }
        ASSERT_EQ(back[c * kTileColumns + p], output ? result[c * kTileColumns + p] : -1.0f);
      }
  });
}

}  // namespace
}  // namespace sparse_engine
