#include "formats/layouts.hpp"

#include <gtest/gtest.h>

#include "base/registry.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Layouts, AreSharedWhileSomebodyHoldsThem) {
  const Csr csr = real_weights(64, 64, 0.5, 6).csr();
  Layouts layouts(csr.impl());
  auto first = layouts.tiles({64, 64, 1, {0}});
  EXPECT_EQ(layouts.tiles({64, 64, 1, {0}}), first);
  const auto other = layouts.tiles({64, 64, 2, {0}});
  EXPECT_NE(other, first);
  EXPECT_EQ(layouts.bytes(), first->bytes() + other->bytes());
  first.reset();
  EXPECT_EQ(layouts.bytes(), other->bytes()) << "nothing is kept for nobody";
}

TEST(Layouts, OutliveTheMatrix) {
  std::shared_ptr<const Tiles> tiles;
  {
    const Csr csr = real_weights(64, 64, 0.5, 6).csr();
    Layouts layouts(csr.impl());
    tiles = layouts.tiles({64, 64, 1, {0}});
  }
  EXPECT_EQ(tiles->row_end(tiles->count() - 1), 64);
}

TEST(Layouts, ForFewColumnsAreSharedToo) {
  const Csr csr = real_weights(64, 64, 0.5, 6).csr();
  Layouts layouts(csr.impl());
  EXPECT_EQ(layouts.narrow(NarrowKind::none), nullptr);
  const NarrowKind kind = csr.impl()->narrow_kind(kernels(), 1);
  const auto first = layouts.narrow(kind);
  EXPECT_EQ(layouts.narrow(kind), first);
  EXPECT_EQ(first != nullptr, kind != NarrowKind::none);
  EXPECT_EQ(layouts.bytes(), first ? first->bytes() : 0);
}

}  // namespace
}  // namespace sparse_engine
