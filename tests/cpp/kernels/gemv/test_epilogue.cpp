// The end of a row: (sum + bias) + residual, then the activation, on the way to y. The sums are weights times one, so that what
// comes to the epilogue is known to the last bit.
#include <cmath>

#include "kernels/gemv/few_columns.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

constexpr Index kRows = 19;  // two slices of eight, and three

// Every row of W is one weight, in column 0 of 8; X is ones. By rows of CSR, or sliced.
struct Sums {
  Sums() : weights(with_slack(reals(kRows, 71))), columns(kRows + kSlackElements) {
    for (float& v : weights) v *= 4;  // on both sides of where relu6 bends
    for (Index row = 0; row <= kRows; ++row) starts.push_back(row);
    for (Index slice = 0; slice < 3; ++slice)
      for (Index i = 0; i < kSliceRows; ++i)
        padded.push_back(slice * kSliceRows + i < kRows ? weights[slice * kSliceRows + i] : 0);
  }

  void operator()(bool sliced, const SkinnyArgs& skinny) const {
    const CsrGemvArgs<std::uint16_t, float> rows{starts.data(), columns.data(), weights.data(), false, skinny};
    if (!sliced) return kernels().csr_gemv(rows);
    static constexpr std::int64_t kSlices[] = {0, 1, 2, 3}, kValues[] = {0, 8, 16, 24};
    static constexpr std::uint32_t kSteps[] = {0, 0, 0};
    kernels().sliced_csr(SlicedCsrArgs<float>{.slice_starts = kSlices,
                                              .steps = kSteps,
                                              .stored = nullptr,
                                              .value_starts = kValues,
                                              .values = padded.data(),
                                              .first_row = 0,
                                              .x_stride = 8,
                                              .plain = rows});
  }

  std::vector<float> weights, padded;
  std::vector<std::uint16_t> columns;
  std::vector<std::int64_t> starts;
};

struct Strides {
  const char* what;
  Index row, column, origin;
};

std::vector<Strides> strides(Index columns) {
  return {{"rows", columns, 1, 0},
          {"columns", 1, kRows, 0},
          {"columns apart", 1, kRows + 5, 0},
          {"both apart", 2 * columns + 3, 2, 0},
          {"rows backwards", -columns, 1, (kRows - 1) * columns},
          {"both backwards", -1, -kRows, kRows * columns - 1}};
}

TEST(GemvEpilogue, AddsBiasThenResidualThenActivatesAndWritesWhereStridesSay) {
  const Sums sums;
  const std::vector<float> ones(64, 1), bias = reals(kRows, 72);
  for_each_isa([&] {
    for (const bool sliced : {false, true})
      for (Index columns = 1; columns <= kSkinnyColumns; ++columns)
        for (const Strides& s : strides(columns))
          for (const Activation activation : kActivations)
            for (int parts = 0; parts < 4; ++parts) {
              const bool with_bias = parts % 2 == 1, with_residual = parts >= 2;
              SCOPED_TRACE(std::string(sliced ? "sliced, " : "rows, ") + std::to_string(columns) + " columns, " + s.what +
                           ", activation " + std::to_string(static_cast<int>(activation)) + (with_bias ? ", bias" : "") +
                           (with_residual ? ", residual" : ""));
              const auto at = [&](Index r, Index c) { return s.origin + r * s.row + c * s.column; };
              Index size = 0;
              for (const Index r : {Index{0}, kRows - 1})
                for (const Index c : {Index{0}, columns - 1}) size = std::max(size, at(r, c) + 1);
              const std::vector<float> before = reals(size, 73);  // the residual is y itself
              Guarded<float> y(before, parts % 2 == 0 ? Flush::end : Flush::beginning);
              sums(sliced, {.rows = kRows,
                            .columns = columns,
                            .x = ones.data(),
                            .bias = with_bias ? bias.data() : nullptr,
                            .residual = with_residual ? y.data() + s.origin : nullptr,
                            .y = y.data() + s.origin,
                            .y_row_stride = s.row,
                            .y_column_stride = s.column,
                            .activation = activation});
              ASSERT_TRUE(y.untouched());
              std::vector<float> expected = before;
              for (Index r = 0; r < kRows; ++r)
                for (Index c = 0; c < columns; ++c) {
                  float sum = sums.weights[r];
                  if (with_bias) sum += bias[r];
                  if (with_residual) sum += before[at(r, c)];
                  const double exact = activated(sum, activation), actual = y.data()[at(r, c)];
                  ASSERT_LE(std::abs(actual - exact), activation_error(sum, exact, activation))
                      << "row " << r << ", column " << c;
                  expected[at(r, c)] = y.data()[at(r, c)];
                }
              expect_same_bits(y.span(), expected);  // nothing between them
              if (HasFatalFailure()) return;
            }
  });
}

TEST(GemvEpilogue, PassesNaNThroughEveryActivation) {
  Sums sums;
  sums.weights[4] = sums.padded[4] = kNaN;
  sums.weights[11] = sums.padded[11] = -kInf;
  const std::vector<float> ones(64, 1);
  for_each_isa([&] {
    for (const bool sliced : {false, true})
      for (const Index columns : {1, 5})
        for (const Activation activation : kActivations) {
          std::vector<float> y(kRows * columns);
          sums(sliced, {.rows = kRows,
                        .columns = columns,
                        .x = ones.data(),
                        .bias = nullptr,
                        .residual = nullptr,
                        .y = y.data(),
                        .y_row_stride = columns,
                        .y_column_stride = 1,
                        .activation = activation});
          for (Index c = 0; c < columns; ++c) {
            EXPECT_TRUE(std::isnan(y[4 * columns + c]));
            const double expected = activated(-kInf, activation);  // NaN for sine and cosine
            EXPECT_TRUE(y[11 * columns + c] == expected || (std::isnan(expected) && std::isnan(y[11 * columns + c])));
          }
        }
  });
}

}  // namespace
}  // namespace sparse_engine
