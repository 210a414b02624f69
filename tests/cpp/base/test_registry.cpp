// The kernels in use: one table for every thread, the one that was chosen last.
#include "base/registry.hpp"

#include <thread>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Registry, HandsOutTheTableOfTheInstructionSetThatWasChosenToEveryThread) {
  for_each_isa([] {
    const Kernels* elsewhere = nullptr;
    std::thread([&] { elsewhere = &kernels(); }).join();
    EXPECT_EQ(elsewhere, &kernels());
    EXPECT_EQ(kernels().name, isa());
  });
}

TEST(Registry, HandsOutTheSameTableWheneverAnInstructionSetIsChosenAgain) {
  std::vector<const Kernels*> first, second;
  for_each_isa([&] { first.push_back(&kernels()); });
  for_each_isa([&] { second.push_back(&kernels()); });
  EXPECT_EQ(first, second);
}

TEST(Registry, KeepsItsTableWhereAChoiceIsRefused) {
  for_each_isa([] {
    const Kernels* const before = &kernels();
    EXPECT_REFUSED(set_isa("sse9"), "is not one of");
    EXPECT_REFUSED(set_isa(""), "is not one of");
    EXPECT_EQ(&kernels(), before);
  });
}

}  // namespace
}  // namespace sparse_engine
