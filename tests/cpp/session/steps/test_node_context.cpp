#include "session/steps/node_context.hpp"

#include "base/registry.hpp"
#include "base/tuning.hpp"
#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(NodeContext, SeesOneAxisAsImagesOfHeightOne) {
  ProgramParts p;
  p.values = {{"x", {kBatch, {6}, {5}}}, {"part", {kBatch, {2}, {5}}}, {"y", {kBatch, {2}, {2}}}};
  p.nodes = {{.operation = Operation::slice, .name = "s", .inputs = {0}, .output = 1, .numbers = {0, -1, 1, 1, 6, 3, 0, 5, 1}},
             {.operation = Operation::adaptive_max_pool, .name = "y", .inputs = {1}, .output = 2, .numbers = {1, 2}}};
  p.inputs = {0};
  p.outputs = {2};
  sparse_engine::Weights weights(std::make_shared<Program>(std::move(p)));
  const std::vector<View> views = find_views(weights.program(), 3, 0);
  const NodeContext at{kernels(), weights, weights.program(), weights.program().nodes()[1], views, 3, 2};
  const ConstImages x = at.images_of(0);
  EXPECT_EQ((std::vector<Index>{x.batch, x.channels, x.height, x.width}), (std::vector<Index>{3, 6, 1, 5}));
  EXPECT_EQ((std::vector<Index>{x.stride_n, x.stride_c, x.stride_h, x.stride_w}), (std::vector<Index>{30, 5, 5, 1}));
  const Images y = at.writable_images_of(2);
  EXPECT_EQ((std::vector<Index>{y.batch, y.channels, y.height, y.width, y.stride_n, y.stride_c}),
            (std::vector<Index>{3, 2, 1, 2, 4, 2}));
  ASSERT_EQ(at.view(1).root, 0) << "the slice is read where it lies";
  EXPECT_EQ(at.images_of(1).stride_c, 15) << "every third channel";
}

TEST(NodeContext, WakesNoThreadForLittleWork) {
  sparse_engine::Weights weights(std::make_shared<Program>(residual_network()));
  const std::vector<View> views = find_views(weights.program(), 1, 0);
  const NodeContext at{kernels(), weights, weights.program(), weights.program().nodes()[0], views, 1, 3};
  EXPECT_EQ(at.threads_for(Tuning::session.serial_below - 1), 1);
  EXPECT_EQ(at.threads_for(Tuning::session.serial_below), 3);
}

}  // namespace
}  // namespace sparse_engine
