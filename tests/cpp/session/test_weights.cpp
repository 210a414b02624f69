#include "session/weights.hpp"

#include "base/tuning.hpp"
#include "small_programs.hpp"
#include "sparse_engine/runtime.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Weights, AreStoredBySparsityAndColumns) {
  const auto chosen = [](double density, Index columns, Index group_rows) {
    return choose_format(density, {.columns = columns, .lanes = 8, .group_rows = group_rows});
  };
  EXPECT_EQ(chosen(0.1, 196, 64), WeightFormat::csr);
  EXPECT_EQ(chosen(1.0, 196, 64), WeightFormat::strips4);
  EXPECT_EQ(chosen(1.0, 196, 6), WeightFormat::strips2);
  EXPECT_EQ(chosen(1.0, 196, 1), WeightFormat::csr);
  EXPECT_EQ(chosen(0.1, 1, 64), WeightFormat::csr);
  EXPECT_EQ(chosen(0.8, 1, 64), WeightFormat::bitmask);
  EXPECT_EQ(chosen(1.0, 8, 64), WeightFormat::blocks8);
  EXPECT_EQ(chosen(1.0, 1, 1000), WeightFormat::blocks8);
  EXPECT_EQ(chosen(1.0, 1, 10), WeightFormat::bitmask) << "rows that blocks do not divide";
  EXPECT_EQ(chosen(0.7, 64, 64), WeightFormat::csr);
  EXPECT_EQ(chosen(0.7, 16, 64), WeightFormat::strips4) << "few vectors for each weight";
  EXPECT_EQ(chosen(0.3, 16, 64), WeightFormat::csr);
}

TEST(Weights, AreDenseSoonerWhereTheyStayInACache) {
  const auto chosen = [](double density, Index group_rows) {
    return choose_format(density, {.columns = 1, .lanes = 8, .group_rows = group_rows, .cached = true});
  };
  EXPECT_EQ(chosen(0.5, 64), WeightFormat::blocks8);
  EXPECT_EQ(chosen(0.3, 64), WeightFormat::csr);
  EXPECT_EQ(chosen(0.8, 10), WeightFormat::bitmask) << "rows that blocks do not divide";
  const Tuning before = tuning();
  Tuning small = before;
  const auto network = std::make_shared<Program>(residual_network(0.5));
  EXPECT_TRUE(sparse_engine::Weights(network).cached());
  small.matrix_bytes = 64;
  set_tuning(small);
  EXPECT_FALSE(sparse_engine::Weights(network).cached());
  set_tuning(before);
}

TEST(Weights, AreTheSameInEveryFormatAndMadeOnce) {
  sparse_engine::Weights weights(std::make_shared<Program>(residual_network(0.5)));
  const WeightInfo& info = weights.program().weights()[0];
  std::vector<float> expected(info.rows * info.cols), found(expected.size());
  info.to_dense(expected.data());
  for (const WeightFormat format : {WeightFormat::csr, WeightFormat::bitmask, WeightFormat::strips2}) {
    const auto matrix = weights.get(0, format);
    matrix->to_dense(found.data());
    EXPECT_EQ(found, expected) << name_of(format);
    EXPECT_EQ(weights.get(0, format), matrix);
  }
  EXPECT_GT(weights.bytes(), 0);
}

TEST(Weights, TakeSixteenBitsWhereThoseHoldThemExactly) {
  const auto bytes_of = [](float value) {
    ProgramParts p = residual_network();
    std::ranges::fill(p.weights[0].values, value);
    sparse_engine::Weights weights(std::make_shared<Program>(std::move(p)));
    std::vector<float> dense(6 * 27);
    for (const WeightFormat format : {WeightFormat::csr, WeightFormat::bitmask}) {
      weights.get(0, format)->to_dense(dense.data());
      EXPECT_EQ(*std::ranges::max_element(dense), value);
    }
    return weights.bytes();
  };
  const Index wide = bytes_of(0.1f), stored = static_cast<Index>(residual_network().weights[0].values.size());
  EXPECT_LE(bytes_of(0x1.02p+100f) + 4 * stored, wide) << "two bytes less in each of two formats";
  EXPECT_EQ(bytes_of(0x1.004p+3f), isa() == "baseline" ? wide : bytes_of(0x1.02p+100f)) << "float16 needs an instruction";
}

}  // namespace
}  // namespace sparse_engine
