#include "session/expansions.hpp"

#include "small_programs.hpp"
#include "sparse_engine/session.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

// x (N, 6, 9, 7) → 1×1 to 20 channels, silu → depthwise 3×3 of stride 2 → 1×1 to 5.
ProgramParts inverted_block() {
  const auto weight = [&](Index rows, Index cols, double density, std::uint64_t seed) {
    const reference::Weights w = integer_weights(rows, cols, density, seed);
    return compress(w.values.data(), rows, cols);
  };
  ProgramParts p;
  p.values = {{"x", {kBatch, {6}, {9}, {7}}},
              {"wide", {kBatch, {20}, {9}, {7}}},
              {"deep", {kBatch, {20}, {5}, {4}}},
              {"y", {kBatch, {5}, {5}, {4}}}};
  p.constants = {integers(20, 61), integers(20, 62)};
  p.weights = {weight(20, 6, 0.4, 63), weight(20, 9, 1.0, 64), weight(5, 20, 0.4, 65)};
  p.nodes = {{.operation = Operation::conv2d,
              .name = "expand",
              .inputs = {0},
              .output = 1,
              .weight = 0,
              .bias = 0,
              .activation = Activation::silu,
              .numbers = {1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1}},
             {.operation = Operation::conv2d,
              .name = "filter",
              .inputs = {1},
              .output = 2,
              .weight = 1,
              .bias = 1,
              .activation = Activation::relu,
              .numbers = {3, 3, 2, 2, 1, 1, 1, 1, 1, 1, 20}},
             {.operation = Operation::conv2d,
              .name = "project",
              .inputs = {2},
              .output = 3,
              .weight = 2,
              .numbers = {1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1}}};
  p.inputs = {0};
  p.outputs = {3};
  return p;
}

std::vector<Index> expansions_of(const ProgramParts& parts, std::size_t apart_until = 0) {
  const Program program(parts);
  return find_expansions(program, find_views(program, 2, apart_until), apart_until);
}

const std::vector<Index> kNone = {-1, -1, -1}, kFirst = {-1, 0, -1};

TEST(Expansions, JoinAPointwiseConvolutionToTheDepthwiseOneThatAloneReadsIt) {
  EXPECT_EQ(expansions_of(inverted_block()), kFirst);
  EXPECT_EQ(expansions_of(inverted_block(), 3), kFirst);
}

TEST(Expansions, LeaveAloneWhatSomebodyElseReads) {
  ProgramParts output = inverted_block();
  output.outputs.push_back(1);
  EXPECT_EQ(expansions_of(output), kNone);

  ProgramParts reader = inverted_block();
  reader.values.push_back({"mean", {kBatch, {20}}});
  reader.nodes.push_back({.operation = Operation::mean, .name = "mean", .inputs = {1}, .output = 4, .numbers = {2, 0}});
  reader.outputs.push_back(4);
  EXPECT_EQ(expansions_of(reader), (std::vector<Index>{-1, -1, -1, -1}));
}

TEST(Expansions, LeaveAloneWhatTheirPlanDoesNotTake) {
  ProgramParts missing = inverted_block();  // a tap
  reference::Weights taps = integer_weights(20, 9, 1.0, 64);
  taps.values[4] = 0;
  missing.weights[1] = compress(taps.values.data(), 20, 9);
  EXPECT_EQ(expansions_of(missing), kNone);

  ProgramParts strided = inverted_block();  // the pointwise one
  strided.values[0].shape = {kBatch, {6}, {17}, {13}};
  strided.nodes[0].numbers[2] = strided.nodes[0].numbers[3] = 2;
  EXPECT_EQ(expansions_of(strided), kNone);

  ProgramParts dilated = inverted_block();
  dilated.nodes[1].numbers = {3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 20};
  EXPECT_EQ(expansions_of(dilated), kNone);

  ProgramParts added = inverted_block();
  added.values.push_back({"more", {kBatch, {20}, {9}, {7}}});
  added.inputs.push_back(4);
  added.nodes[0].residual = 4;
  EXPECT_EQ(expansions_of(added), kNone);

  EXPECT_EQ(expansions_of(inverted_block(), 1), kNone) << "images run apart up to between them";
}

TEST(Expansions, ComputeWhatBothDoByThemselves) {
  for_each_isa([&] {
    const auto joined = std::make_shared<Program>(inverted_block());
    ProgramParts parts = inverted_block();
    parts.outputs.push_back(1);
    const auto apart = std::make_shared<Program>(parts);
    for (const int threads : {1, 2, 3})
      for (const Index batch : {1, 2, 3, 4, 7}) {
        const std::vector<float> x = integers(batch * 6 * 63, 66);
        std::vector<float> y(batch * 100, kNaN), expected(batch * 100, kNaN), wide(batch * 20 * 63);
        Session session(joined, threads);
        session.fill_arena(true);
        session.run(batch, {x.data()}, {y.data()});
        Session(apart, threads).run(batch, {x.data()}, {expected.data(), wide.data()});
        expect_same_bits(y, expected);
      }
  });
}

TEST(Expansions, TakeNoMemoryForWhatLiesBetween) {
  ProgramParts parts = inverted_block();
  const Session joined(std::make_shared<Program>(parts), 1);
  for (const NodeProfile& node : joined.profile(1, {std::vector<float>(6 * 63).data()}, {std::vector<float>(100).data()}))
    EXPECT_NE(node.node, 0) << "it has no step";
}

}  // namespace
}  // namespace sparse_engine
