// Block rows times one to eight columns: every height and width a block is cut into.
#include "kernels/gemv/few_columns.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// Block row r holds r of the `across` blocks, each full.
struct Blocks {
  Blocks(Index block_rows, Index across, Index height, Index width, bool whole)
      : w{block_rows * height, across * width, std::vector<float>(block_rows * height * across * width)} {
    const Weights which = staircase(block_rows, across, true, 41);
    Random random(42);
    starts = {0};
    for (Index row = 0; row < block_rows; ++row) {
      for (Index block = 0; block < across; ++block) {
        if (which.values[row * across + block] == 0) continue;
        columns.push_back(static_cast<std::uint32_t>(block));
        for (Index c = 0; c < width; ++c)
          for (Index r = 0; r < height; ++r) {
            const double magnitude = whole ? static_cast<double>(random.between(1, 4)) : random.unit() + 0.0625;
            values.push_back(static_cast<float>(random.one_in(0.5) ? magnitude : -magnitude));
            w.values[(row * height + r) * w.cols + block * width + c] = values.back();
          }
      }
      starts.push_back(static_cast<std::int64_t>(columns.size()));
    }
  }
  Weights w;
  std::vector<std::int64_t> starts;
  std::vector<std::uint32_t> columns;
  std::vector<float> values;
};

TEST(BsrGemv, MultipliesBlocksOfEveryHeightAndWidth) {
  for (const Index height : {1, 2, 3, 4, 5, 8, 13, 16})
    for (const Index width : {1, 2, 3, 4, 5, 8, 9})
      for_few_columns(XLayout::rows, [&](const FewColumns& c) {
        SCOPED_TRACE("blocks of " + std::to_string(height) + " × " + std::to_string(width));
        const Blocks b(width == 1 ? 11 : 4, width == 1 ? 13 : 5, height, width, c.kind == XKind::integers);
        // No slack: blocks are read as they are.
        Guarded<float> values(b.values, c.side);
        Guarded<std::uint32_t> columns(b.columns, c.side);
        expect_rows(b.w, 0, b.w.rows, c, [&](const SkinnyArgs& skinny, Index) {
          kernels().bsr_gemv({b.starts.data(), columns.data(), values.data(), height, width, skinny});
        });
      });
}

TEST(BsrGemv, BeginsAtTheBlockRowItIsGiven) {
  for_few_columns(XLayout::rows, [&](const FewColumns& c) {
    const Blocks b(6, 7, 5, 3, c.kind == XKind::integers);
    expect_rows(b.w, 10, 25, c, [&](const SkinnyArgs& skinny, Index) {
      kernels().bsr_gemv({b.starts.data() + 2, b.columns.data(), b.values.data(), 5, 3, skinny});
    });
  });
}

}  // namespace
}  // namespace sparse_engine
