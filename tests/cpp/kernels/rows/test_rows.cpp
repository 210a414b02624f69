#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(MeanRows, StayWithinTheBound) {
  for_each_isa([&] {
    for (const Index columns : {1, 7, 31, 32, 49, 200}) {
      const std::vector<float> x = reals(3 * columns, 23);
      std::vector<float> y(4, kNaN);
      kernels().mean_rows({x.data(), 3, columns, static_cast<float>(1.0 / columns), y.data()});
      for (Index row = 0; row < 3; ++row) {
        double sum = 0, magnitude = 0;
        for (Index i = 0; i < columns; ++i) sum += x[row * columns + i], magnitude += std::abs(x[row * columns + i]);
        ASSERT_NEAR(y[row], sum / columns, gamma(columns + 2) * magnitude / columns);
      }
      ASSERT_TRUE(std::isnan(y[3]));
    }
  });
}

TEST(SoftmaxRow, StaysWithinTheBoundWithAndWithoutAMask) {
  for_each_isa([&] {
    for (const Index columns : {1, 3, 8, 15, 16, 17, 40, 200})
      for (const bool masked : {false, true})
        for (const float scale : {1.0f, 0.125f, 30.0f}) {
          const std::vector<float> x = reals(columns, 41);
          std::vector<float> mask = reals(columns, 42), y(columns + 1, kNaN);
          if (columns > 2) mask[1] = -kInf;
          kernels().softmax_row({x.data(), columns, scale, masked ? mask.data() : nullptr, true, y.data()});
          std::vector<double> score(columns);
          double most = -kInf, sum = 0, all = 0;
          for (Index i = 0; i < columns; ++i) {
            score[i] = double{x[i]} * scale + (masked ? mask[i] : 0);
            most = std::max(most, score[i]);
          }
          for (Index i = 0; i < columns; ++i) sum += std::exp(score[i] - most);
          for (Index i = 0; i < columns; ++i) {
            const double expected = std::exp(score[i] - most) / sum;
            // x · scale + mask and the difference from the largest are rounded, each by up to u of what it is.
            const double distance = std::isinf(score[i]) ? 0 : std::abs(score[i]) + std::abs(most) + std::abs(score[i] - most);
            ASSERT_NEAR(y[i], expected, expected * gamma(columns + 16) + expected * 0x1p-24 * 2 * distance + 0x1p-149)
                << columns << " columns, number " << i;
            all += y[i];
          }
          ASSERT_NEAR(all, 1, 1e-5);
          ASSERT_TRUE(std::isnan(y[columns]));
        }
  });
}

TEST(SoftmaxRow, OfNothingButMinusInfinityIsZeroWhereThatIsAskedFor) {
  for_each_isa([&] {
    for (const Index columns : {1, 9, 40}) {
      const std::vector<float> x(columns, 1.0f), mask(columns, -kInf);
      std::vector<float> y(columns);
      kernels().softmax_row({x.data(), columns, 1.0f, mask.data(), true, y.data()});
      expect_same_bits(y, std::vector<float>(columns, 0.0f));
      kernels().softmax_row({x.data(), columns, 1.0f, mask.data(), false, y.data()});
      for (const float v : y) ASSERT_TRUE(std::isnan(v));
    }
  });
}

TEST(SoftmaxRow, IsNaNWhereANumberIs) {
  for_each_isa([&] {
    for (const Index columns : {2, 9, 21})
      for (Index at = 0; at < columns; ++at) {
        std::vector<float> x = reals(columns, 43), y(columns);
        x[at] = kNaN;
        kernels().softmax_row({x.data(), columns, 1.0f, nullptr, true, y.data()});
        for (const float v : y) ASSERT_TRUE(std::isnan(v)) << at;
        x.assign(columns, -kInf);
        x[at] = kNaN;
        kernels().softmax_row({x.data(), columns, 1.0f, nullptr, true, y.data()});
        EXPECT_TRUE(std::isnan(y[at])) << "what hides all but NaN hides nothing";
      }
  });
}

TEST(LayerNormRow, StaysCloseToTheExactOneAlsoInPlace) {
  for_each_isa([&] {
    for (const Index columns : {1, 3, 8, 31, 64, 257})
      for (const bool affine : {true, false}) {
        std::vector<float> x = reals(columns, 44);
        for (float& v : x) v += 3;
        const std::vector<float> weight = reals(columns, 45), bias = reals(columns, 46);
        double mean = 0, variance = 0;
        for (const float v : x) mean += v / static_cast<double>(columns);
        for (const float v : x) variance += (v - mean) * (v - mean) / static_cast<double>(columns);
        std::vector<float> y = x;
        y.push_back(kNaN);
        kernels().layer_norm_row(
            {y.data(), columns, 1e-3f, affine ? weight.data() : nullptr, affine ? bias.data() : nullptr, y.data()});
        for (Index i = 0; i < columns; ++i) {
          const double whole = (x[i] - mean) / std::sqrt(variance + 1e-3);
          const double expected = affine ? whole * weight[i] + bias[i] : whole;
          ASSERT_NEAR(y[i], expected, 2e-5 * (1 + std::abs(whole))) << columns << " columns, number " << i;
        }
        ASSERT_TRUE(std::isnan(y[columns]));
      }
  });
}

TEST(RmsNormRow, StaysWithinTheBoundAlsoInPlace) {
  for_each_isa([&] {
    for (const Index columns : {1, 3, 8, 31, 64, 257, 1000})
      for (const bool weighted : {true, false}) {
        const std::vector<float> x = reals(columns, 47), weight = reals(columns, 48);
        double squares = 0;
        for (const float v : x) squares += double{v} * v / static_cast<double>(columns);
        std::vector<float> y = x;
        y.push_back(kNaN);
        kernels().rms_norm_row({y.data(), columns, 1e-3f, weighted ? weight.data() : nullptr, y.data()});
        for (Index i = 0; i < columns; ++i) {
          const double expected = x[i] / std::sqrt(squares + double{1e-3f}) * (weighted ? weight[i] : 1);
          ASSERT_NEAR(y[i], expected, gamma(static_cast<double>(columns) + 8) * std::abs(expected)) << columns << ", " << i;
        }
        ASSERT_TRUE(std::isnan(y[columns]));
      }
  });
}

TEST(RmsNormRow, OfZerosIsZeroAndOfNaNIsNaN) {
  for_each_isa([&] {
    std::vector<float> x(21, 0.0f), y(21, kNaN);
    kernels().rms_norm_row({x.data(), 21, 1e-6f, nullptr, y.data()});
    expect_same_bits(y, x);
    x[20] = kNaN;
    kernels().rms_norm_row({x.data(), 21, 1e-6f, nullptr, y.data()});
    for (const float v : y) ASSERT_TRUE(std::isnan(v));
  });
}

}  // namespace
}  // namespace sparse_engine
