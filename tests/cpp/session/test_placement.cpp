#include "session/placement.hpp"

#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// A program whose values have their places, with a workspace of 40 bytes for each node.
struct Placed {
  Program program;
  std::vector<Index> sizes;
  Outline outline;
  Placement placement;

  Placed(ProgramParts parts, std::vector<Index> of_calls, std::size_t apart_until = 0)
      : program(std::move(parts)), sizes(std::move(of_calls)), outline(outlined(apart_until)), placement(outline) {
    placement.place(std::vector<Index>(program.nodes().size(), 40));
  }

  Outline outlined(std::size_t apart_until) const {
    const std::size_t nodes = program.nodes().size();
    Index batch = 0;
    for (const Index size : sizes) batch += size;
    return {program,
            sizes,
            batch,
            apart_until,
            find_views(program, batch, apart_until),
            std::vector<Index>(nodes, -1),
            std::vector<bool>(nodes, false)};
  }

  Place of(Index value, std::size_t call = 0) const { return placement.of(value, outline.views, call); }
};

TEST(Placement, PutsAResultInThePlaceOfItsResidualWhereNothingReadsThatLater) {
  ProgramParts p = residual_network();
  p.values.push_back({"c", p.values[1].shape});
  NodeInfo between = p.nodes[1];
  between.residual = -1;
  between.output = 5;
  p.nodes[1].inputs = {5};  // and its residual is still value 1
  p.nodes.insert(p.nodes.begin() + 1, between);
  const auto result_is_at_residual = [](const ProgramParts& parts) {
    const Placed placed(parts, {1});
    return placed.of(2).kind == placed.of(1).kind && placed.of(2).offset == placed.of(1).offset;
  };
  EXPECT_TRUE(result_is_at_residual(p));
  p.outputs.push_back(1);  // the caller's, and not to be overwritten
  EXPECT_FALSE(result_is_at_residual(p));
}

TEST(Placement, NeverPutsAResultOverAResidualThatTheProductReadsToo) {
  const Placed placed(residual_network(), {1});
  EXPECT_NE(placed.of(2).offset, placed.of(1).offset);
}

TEST(Placement, KeepsWhatLivesInOneSegmentLocal) {
  const Placed placed(residual_network(), {4}, 3);
  EXPECT_EQ(placed.of(1).kind, Place::Kind::local);
  EXPECT_EQ(placed.of(3).kind, Place::Kind::shared) << "the head reads it in the next segment";
  EXPECT_EQ(placed.of(3).item, 6);
  EXPECT_EQ(placed.placement.of_workspace(0).kind, Place::Kind::local);
  EXPECT_EQ(placed.placement.of_workspace(3).kind, Place::Kind::shared);
}

TEST(Placement, PutsWorkspacesWhereNothingLivesMeanwhile) {
  const Placed placed(residual_network(), {1});
  const auto apart = [](const Place& a, Index a_floats, const Place& b, Index b_floats) {
    return a.offset + a_floats <= b.offset || b.offset + b_floats <= a.offset;
  };
  EXPECT_TRUE(apart(placed.placement.of_workspace(1), 10, placed.of(1), 6 * 64));
  EXPECT_TRUE(apart(placed.placement.of_workspace(1), 10, placed.of(2), 6 * 64));
  EXPECT_LE(placed.of(2).offset + 6 * 64, placed.placement.shared_floats());
  EXPECT_EQ(placed.placement.local_floats(), 0);
}

TEST(Placement, LeavesWhatIsTheCallersOutsideTheArena) {
  ProgramParts p = residual_network();
  p.outputs = {4, 0, 4};
  const Placed placed(std::move(p), {1});
  EXPECT_EQ(placed.of(0).kind, Place::Kind::input);
  EXPECT_EQ(placed.of(4).kind, Place::Kind::output);
  EXPECT_EQ(placed.placement.copied_outputs(), (std::vector<std::size_t>{1, 2}));
}

TEST(Placement, PutsCallsOneBehindTheOther) {
  const Placed placed(residual_network(), {2, 3});
  EXPECT_EQ(placed.of(1, 1).offset - placed.of(1, 0).offset, 2 * 6 * 64);
  EXPECT_EQ(placed.of(0, 1).offset, 2 * 3 * 64);
  EXPECT_EQ(placed.placement.of_output(0, 1).offset, 2 * 5);
}

}  // namespace
}  // namespace sparse_engine
