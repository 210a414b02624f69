// n:m times one to eight columns: two of four in strips of eight rows, and any n:m row by row.
#include <algorithm>

#include "kernels/gemv/few_columns.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// In every group of m columns of a row, n places in ascending order, chosen at random.
struct Pattern {
  Pattern(Index rows, Index groups, Index n, Index m, bool whole) : w{rows, groups * m, std::vector<float>(rows * groups * m)} {
    Random random(51);
    for (Index i = 0; i < rows * groups; ++i) {
      std::vector<std::uint32_t> order(m);
      for (Index k = 0; k < m; ++k) order[k] = static_cast<std::uint32_t>(k);
      for (Index k = 0; k < n; ++k) std::swap(order[k], order[random.between(k, m - 1)]);
      std::sort(order.begin(), order.begin() + n);
      for (Index k = 0; k < n; ++k) {
        const double magnitude = whole ? static_cast<double>(random.between(1, 4)) : random.unit() + 0.0625;
        positions.push_back(order[k]);
        values.push_back(static_cast<float>(random.one_in(0.5) ? magnitude : -magnitude));
        w.values[i * m + order[k]] = values.back();
      }
    }
  }
  Weights w;
  std::vector<std::uint32_t> positions;  // row by row, group by group
  std::vector<float> values;
};

TEST(NmGemvQuads, MultipliesTwoOfFourForAnyRowsAndColumns) {
  for (const Index rows : {1, 2, 3, 7, 8, 9, 21})
    for (const Index groups : {1, 2, 3, 31, 32, 33, 67})
      for_few_columns(XLayout::rows, [&](const FewColumns& c) {
        const Pattern p(rows, groups, 2, 4, c.kind == XKind::integers);
        const Index strips = (rows + 7) / 8, steps = (groups + 1) / 2, vectors = (steps + 15) / 16;
        std::vector<float> values(strips * steps * 32);
        std::vector<std::uint32_t> positions(strips * vectors * 32);
        for (Index row = 0; row < rows; ++row)
          for (Index group = 0; group < groups; ++group)
            for (Index k = 0; k < 2; ++k) {
              const Index strip = row / 8, pair = row % 8 / 2, step = group / 2;
              const Index lane = group % 2 * 4 + row % 2 * 2 + k, i = (row * groups + group) * 2 + k;
              values[((strip * steps + step) * 4 + pair) * 8 + lane] = p.values[i];
              positions[((strip * vectors + step / 16) * 4 + pair) * 8 + lane] |= p.positions[i] << 2 * (step % 16);
            }
        Guarded<float> v(values, c.side);
        Guarded<std::uint32_t> at(positions, c.side);
        expect_rows(p.w, 0, rows, c,
                    [&](const SkinnyArgs& skinny, Index) { kernels().nm_gemv_quads({v.data(), at.data(), p.w.cols, skinny}); });
      });
}

TEST(NmGemv, MultipliesAnyNOfM) {
  struct Shape {
    int n, m, bits;
  };
  for (const Shape s :
       {Shape{1, 2, 1}, {2, 4, 2}, {1, 8, 3}, {3, 5, 3}, {4, 8, 3}, {7, 16, 4}, {2, 32, 5}, {5, 1000, 10}, {1, 1, 1}})
    for (const Index groups : {0, 1, 2, 11})
      for_few_columns(XLayout::rows, [&](const FewColumns& c) {
        SCOPED_TRACE(std::to_string(s.n) + ":" + std::to_string(s.m));
        constexpr Index kRows = 5;
        const Pattern p(kRows, groups, s.n, s.m, c.kind == XKind::integers);
        const Index row_values = groups * s.n, in_word = 32 / s.bits, row_words = (row_values + in_word - 1) / in_word;
        std::vector<std::uint32_t> words(kRows * row_words);
        for (Index row = 0; row < kRows; ++row)
          for (Index i = 0; i < row_values; ++i)
            words[row * row_words + i / in_word] |= p.positions[row * row_values + i] << s.bits * (i % in_word);
        Guarded<float> values(p.values, c.side);
        Guarded<std::uint32_t> positions(words, c.side);
        expect_rows(p.w, 0, kRows, c, [&](const SkinnyArgs& skinny, Index) {
          kernels().nm_gemv({values.data(), positions.data(), row_values, row_words, s.n, s.m, s.bits, skinny});
        });
      });
}

}  // namespace
}  // namespace sparse_engine
