#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

double exact(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::add: return a + b;
    case BinaryOp::subtract: return a - b;
    case BinaryOp::multiply: return a * b;
    case BinaryOp::divide: return a / b;
    case BinaryOp::maximum: return std::max(a, b);
    case BinaryOp::minimum: return std::min(a, b);
    case BinaryOp::less: return a < b;
    case BinaryOp::less_equal: return a <= b;
    case BinaryOp::equal: return a == b;
    case BinaryOp::keep: return b != 0 ? a : 0;
    case BinaryOp::first: return a;
  }
  return kNaN;
}

TEST(Binary, ComputesEveryElementWithinARoundingAndWritesNoOther) {
  for_each_isa([&] {
    for (const BinaryOp op :
         {BinaryOp::add, BinaryOp::subtract, BinaryOp::multiply, BinaryOp::divide, BinaryOp::maximum, BinaryOp::minimum,
          BinaryOp::less, BinaryOp::less_equal, BinaryOp::equal, BinaryOp::keep, BinaryOp::first})
      for (const Activation activation : kExactActivations)
        for (const bool number : {false, true})
          for (const Index count : {0, 1, 3, 7, 8, 9, 16, 33, 100}) {
            const std::vector<float> a = reals(count, 11), b = reals(std::max<Index>(count, 1), 12);
            std::vector<float> y(count + 1, kNaN);
            kernels().binary({op, a.data(), op == BinaryOp::first ? nullptr : b.data(), number, activation, count, y.data()});
            for (Index i = 0; i < count; ++i) {
              const double expected = activated(exact(op, a[i], b[number ? 0 : i]), activation);
              ASSERT_NEAR(y[i], expected, 0x1p-23 * std::abs(expected)) << "element " << i << " of " << count;
            }
            ASSERT_TRUE(std::isnan(y[count]));
          }
  });
}

TEST(Binary, TakesANaNOfEitherForTheMaximumAndTheMinimum) {
  for_each_isa([&] {
    for (const BinaryOp op : {BinaryOp::maximum, BinaryOp::minimum})
      for (const bool number : {false, true}) {
        std::vector<float> a(19, 1.0f), b(19, number ? kNaN : 2.0f), y(19);
        a[3] = a[17] = kNaN;
        if (!number) b[4] = b[18] = kNaN;
        kernels().binary({op, a.data(), b.data(), number, Activation::none, 19, y.data()});
        for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(std::isnan(y[i]), std::isnan(a[i]) || std::isnan(b[i])) << i;
      }
  });
}

TEST(Binary, ComparesWithNaNAsWithNothing) {
  for_each_isa([&] {
    const std::vector<float> a = {1, 2, 2, kNaN, 1, kInf, -kInf, -0.0f, kNaN}, b = {2, 1, 2, 1, kNaN, kInf, kInf, 0.0f, kNaN};
    for (const BinaryOp op : {BinaryOp::less, BinaryOp::less_equal, BinaryOp::equal}) {
      std::vector<float> y(a.size());
      kernels().binary({op, a.data(), b.data(), false, Activation::none, static_cast<Index>(a.size()), y.data()});
      for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], exact(op, a[i], b[i])) << i;
    }
  });
}

TEST(Binary, KeepsWhateverStandsThereAndNothingElse) {
  for_each_isa([&] {
    const std::vector<float> a = {kInf, kInf, kNaN, kNaN, 3, 3, -kInf, 5, 7}, b = {0, 1, 0, 1, -0.0f, -2, 0, kNaN, 0x1p-149f};
    std::vector<float> y(a.size());
    kernels().binary({BinaryOp::keep, a.data(), b.data(), false, Activation::none, static_cast<Index>(a.size()), y.data()});
    for (const std::size_t gone : {0, 2, 4, 6}) ASSERT_EQ(y[gone], 0.0f) << gone;
    for (const std::size_t kept : {1, 5, 7, 8}) ASSERT_EQ(y[kept], a[kept]) << kept;
    ASSERT_TRUE(std::isnan(y[3]));
  });
}

TEST(Binary, MayWriteWhereItReads) {
  for_each_isa([&] {
    std::vector<float> a = integers(37, 13), b = integers(37, 14), y = a;
    kernels().binary({BinaryOp::add, y.data(), b.data(), false, Activation::relu, 37, y.data()});
    for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], std::max(a[i] + b[i], 0.0f));
    y = b;
    kernels().binary({BinaryOp::subtract, a.data(), y.data(), false, Activation::none, 37, y.data()});
    for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], a[i] - b[i]);
  });
}

}  // namespace
}  // namespace sparse_engine
