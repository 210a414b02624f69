#include "session/schedule.hpp"

#include "base/registry.hpp"
#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

Schedule scheduled(ProgramParts parts, Index batch, int threads) {
  sparse_engine::Weights weights(std::make_shared<Program>(std::move(parts)));
  return make_schedule(kernels(), weights, batch, threads);
}

TEST(Schedule, RunsImagesApartWhereEachThreadHasOneAndTheRestTogether) {
  const Schedule apart = scheduled(residual_network(), 4, 2);
  ASSERT_EQ(apart.segments.size(), 2);
  EXPECT_TRUE(apart.segments[0].apart);
  EXPECT_EQ(apart.segments[0].steps.size(), 3);
  EXPECT_FALSE(apart.segments[1].apart) << "a linear layer has one column for each image";
  EXPECT_EQ(scheduled(residual_network(), 1, 2).segments.size(), 1);
  EXPECT_EQ(scheduled(residual_network(), 3, 2).segments.size(), 1) << "one thread would have twice as much to do";
}

TEST(Schedule, RunsRecurrencesTogether) {
  ProgramParts p;
  p.values = {{"x", {kBatch, {40}, {4}}}, {"gates", {kBatch, {40}, {48}}}, {"y", {kBatch, {40}, {16}}}};
  const auto weight = [](Index rows, Index cols) {
    const reference::Weights w = real_weights(rows, cols, 0.5, 56);
    return compress(w.values.data(), rows, cols);
  };
  p.weights = {weight(48, 4), weight(48, 16)};
  p.nodes = {{.operation = Operation::linear, .name = "in", .inputs = {0}, .output = 1, .weight = 0, .numbers = {}},
             {.operation = Operation::gru, .name = "gru", .inputs = {1}, .output = 2, .weight = 1, .numbers = {0}}};
  p.inputs = {0};
  p.outputs = {2};
  const Schedule s = scheduled(std::move(p), 4, 2);
  ASSERT_EQ(s.segments.size(), 2);
  EXPECT_TRUE(s.segments[0].apart);
  EXPECT_FALSE(s.segments[1].apart) << "a weight of the recurrence is read once for up to eight sequences";
  EXPECT_EQ(s.segments[1].steps[0].kernel.substr(0, 10), "recurrence");
}

TEST(Schedule, GivesWhatCrossesSegmentsAPlaceForEachImage) {
  const Schedule s = scheduled(residual_network(), 4, 2);
  const Step& mean = s.segments[0].steps[2];
  EXPECT_EQ(mean.y.kind, Place::Kind::shared);
  EXPECT_EQ(mean.y.item, 6);
  EXPECT_EQ(s.segments[1].steps[0].x.offset, mean.y.offset);
}

// Where the scratch of a step lay among values, or moved with its size, it was another thread's memory at the next.
TEST(Schedule, HasScratchOfEachThreadThatFitsEveryStep) {
  for (const Index batch : {1, 4}) {
    const Schedule s = scheduled(residual_network(), batch, 2);
    Index most = 0;
    for (const Segment& segment : s.segments)
      for (const Step& step : segment.steps) {
        most = std::max(most, step.plan->worker_bytes() / 4);
        if (step.workspace.kind == Place::Kind::shared) {
          EXPECT_LE(step.workspace.offset + step.plan->shared_bytes() / 4, s.shared_floats);
        }
      }
    EXPECT_GT(most, 0);
    EXPECT_EQ(s.scratch_floats, most);
    EXPECT_EQ(s.floats(), s.shared_floats + 2 * (s.local_floats + s.scratch_floats));
  }
}

TEST(Schedule, CopiesOutputsThatNoNodeWrites) {
  ProgramParts p = residual_network();
  p.outputs = {4, 0, 4};
  const Schedule s = scheduled(std::move(p), 4, 2);
  const auto& steps = s.segments.back().steps;
  ASSERT_GE(steps.size(), 3u);
  EXPECT_EQ(steps[steps.size() - 2].kernel, "copy to the output");
  EXPECT_EQ(steps.back().kernel, "copy to the output");
}

}  // namespace
}  // namespace sparse_engine
