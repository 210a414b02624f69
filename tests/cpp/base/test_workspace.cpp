#include "base/workspace.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <new>

namespace sparse_engine {
namespace {

TEST(Workspace, IsAlignedAndComesAgainFromThePool) {
  const float* first = nullptr;
  {
    const Workspace workspace(5000);
    first = workspace.data();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0);
    const Workspace beside(5000);
    EXPECT_NE(beside.data(), first);
    beside.data()[1249] = 1;
  }
  const Workspace again(5000), other(5000);
  EXPECT_TRUE(again.data() == first || other.data() == first);
}

TEST(Workspace, OfNothingTakesNothing) { EXPECT_EQ(Workspace(0).data(), nullptr); }

TEST(Workspace, ThatNoMemoryHoldsIsRefused) {
  EXPECT_THROW(Workspace(std::numeric_limits<std::int64_t>::max() / 2), std::exception);
}

}  // namespace
}  // namespace sparse_engine
