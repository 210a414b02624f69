#include "session/steps/products.hpp"

#include "base/registry.hpp"
#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(ProductSteps, OfAVolumeAreThoseOfItsSlices) {
  ProgramParts p;
  const reference::Weights w = integer_weights(6, 54, 0.4, 58);
  p.values = {{"x", {kBatch, {2}, {3}, {4}, {5}}}, {"y", {kBatch, {6}, {3}, {4}, {5}}}};
  p.weights = {compress(w.values.data(), 6, 54)};
  p.nodes = {{.operation = Operation::conv3d,
              .name = "c",
              .inputs = {0},
              .output = 1,
              .weight = 0,
              .numbers = {3, 1, 1, 1, 1, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1}}};
  p.inputs = {0};
  p.outputs = {1};
  sparse_engine::Weights weights(std::make_shared<Program>(std::move(p)));
  const auto& node = weights.program().nodes()[0];
  const PlannedNode planned = plan_node(kernels(), weights, node, find_views(weights.program(), 2, 0), 2, 1);
  EXPECT_EQ(planned.kernel, "planes, csr");
  EXPECT_EQ(planned.multiply_adds, static_cast<Index>(weights.program().weights()[0].values.size()) * 2 * 3 * 4 * 5);
  EXPECT_EQ(columns_of_item(weights.program(), node), 3 * 4 * 5);
}

TEST(ProductSteps, OfOnePixelAreThoseOfALinearLayer) {
  const auto planned = [](Index pixels) {
    ProgramParts p;
    const reference::Weights w = integer_weights(6, 8, 0.4, 59);
    p.values = {{"x", {kBatch, {8}, {pixels}, {1}}}, {"y", {kBatch, {6}, {pixels}, {1}}}};
    p.weights = {compress(w.values.data(), 6, 8)};
    p.nodes = {{.operation = Operation::conv2d,
                .name = "c",
                .inputs = {0},
                .output = 1,
                .weight = 0,
                .numbers = {1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1}}};
    p.inputs = {0};
    p.outputs = {1};
    sparse_engine::Weights weights(std::make_shared<Program>(std::move(p)));
    const std::vector<View> views = find_views(weights.program(), 4, 0);
    return planned_conv({kernels(), weights, weights.program(), weights.program().nodes()[0], views, 4, 1});
  };
  EXPECT_EQ(planned(1).plans[0]->strategy(), Strategy::gemv) << "one product of as many columns as images";
  EXPECT_NE(planned(2).plans[0]->strategy(), Strategy::gemv);
}

TEST(ProductSteps, OfRecurrencesWithAnOddNumberOfUnitsKeepTheirRows) {
  const auto planned = [](Index hidden) {
    ProgramParts p;
    const reference::Weights w = real_weights(3 * hidden, hidden, 0.6, 60);
    p.values = {{"gates", {kBatch, {5}, {3 * hidden}}}, {"y", {kBatch, {5}, {hidden}}}};
    p.weights = {compress(w.values.data(), 3 * hidden, hidden)};
    p.nodes = {{.operation = Operation::gru, .name = "gru", .inputs = {0}, .output = 1, .weight = 0, .numbers = {0}}};
    p.inputs = {0};
    p.outputs = {1};
    sparse_engine::Weights weights(std::make_shared<Program>(std::move(p)));
    const std::vector<View> views = find_views(weights.program(), 1, 0);
    return planned_recurrence({kernels(), weights, weights.program(), weights.program().nodes()[0], views, 1, 1}, Cell::gru);
  };
  EXPECT_EQ(planned(16).format, WeightFormat::blocks8);
  EXPECT_EQ(planned(15).format, WeightFormat::csr) << "gates begin at any row";
}

}  // namespace
}  // namespace sparse_engine
