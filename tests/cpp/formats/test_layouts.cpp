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
  EXPECT_EQ(layouts.skinny(SkinnyKind::none), nullptr);
  const SkinnyKind kind = csr.impl()->skinny_kind(kernels(), 1);
  const auto first = layouts.skinny(kind);
  EXPECT_EQ(layouts.skinny(kind), first);
  EXPECT_EQ(first != nullptr, kind != SkinnyKind::none);
  EXPECT_EQ(layouts.bytes(), first ? first->bytes() : 0);
}

TEST(Layouts, MoveOneThatIsAliveInsteadOfMakingAnother) {
  const Csr csr = real_weights(64, 64, 0.5, 6).csr();
  Layouts layouts(csr.impl());
  const TileShape shape{64, 8, 64, {0}}, other{64, 8, 128, {0}};
  const auto first = layouts.tiles(shape), moved = layouts.tiles(other);
  EXPECT_EQ(first->shape(), shape);
  EXPECT_EQ(moved->shape(), other);
  EXPECT_EQ(moved->count(), first->count());
}

TEST(Layouts, RefuseShapesThatReachBeyondWhatAnOffsetHolds) {
  const Csr csr = real_weights(8, 8, 0.5, 6).csr();
  Layouts layouts(csr.impl());
  for (const TileShape& shape : {TileShape{0, 1, 1, {0}}, {1, 0, 1, {0}}, {1, 1, -1, {0}}, {1, 1, 1, {}}})
    EXPECT_REFUSED(layouts.tiles(shape), "is out of range");
  EXPECT_REFUSED(layouts.tiles({1, 1 << 20, 1 << 12, {0}}), "it must lie within 0 and 2³²");
  EXPECT_REFUSED(layouts.tiles({1, 1, 1, {0, -1}}), "it must lie within 0 and 2³²");
  EXPECT_REFUSED(layouts.tiles({1, Index{1} << 40, Index{1} << 40, {0}}), "block");
}

}  // namespace
}  // namespace sparse_engine
