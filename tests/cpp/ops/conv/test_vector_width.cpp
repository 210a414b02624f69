#include "ops/conv/vector_width.hpp"

#include <unistd.h>

#include "base/registry.hpp"
#include "ops/conv/plan.hpp"
#include "reference_conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

[[noreturn]] void exit_with_choice() {
  unsetenv("SPARSE_ENGINE_ISA");
  const Kernels& table = kernels();
  const Kernels* const first = kernels_for_planes(table);
  const bool fits = first == &table || first == narrower_kernels(table);
  _exit(fits && kernels_for_planes(table) == first ? 0 : 1);
}

TEST(VectorWidthDeathTest, IsThatOfTheTableOrHalfOfIt) { EXPECT_EXIT(exit_with_choice(), testing::ExitedWithCode(0), ""); }

TEST(VectorWidth, StaysWhereAnInstructionSetIsChosen) {
  for_each_isa([&] { EXPECT_EQ(kernels_for_planes(kernels()), &kernels()); });
}

// Which is why it may be chosen by the clock.
TEST(VectorWidth, DoesNotChangeBits) {
  const ConvCase c = same_size(3, 1, 2, 9, 13, 21, 12);
  const Weights w = real_weights(c.filters, c.cols(), 0.3, 98);
  const std::vector<float> x = reals(c.inputs(), 99), bias = reals(c.filters, 100);
  for (const Activation activation : kActivations) {
    std::vector<std::vector<float>> found;
    for_each_isa([&] {
      if (isa() == "avx2" || isa() == "avx512") found.push_back(convolved(c, w.csr(), x, bias, activation));
    });
    for (const std::vector<float>& y : found) expect_same_bits(y, found.front());
  }
}

}  // namespace
}  // namespace sparse_engine
