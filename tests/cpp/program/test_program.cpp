#include "sparse_engine/program.hpp"

#include "small_programs.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Program, KnowsOperationsByName) {
  EXPECT_EQ(name_of(Operation::average_pool), "average_pool");
  EXPECT_EQ(operation_named("reshape"), Operation::reshape);
  EXPECT_REFUSED(operation_named("erf"), "no operation called erf");
}

TEST(Program, CompressesWeightsWhereThatIsSmaller) {
  for (const double density : {0.0, 0.1, 0.5, 1.0}) {
    const Weights w = integer_weights(9, 13, density, 61);
    const WeightInfo info = compress(w.values.data(), 9, 13);
    EXPECT_EQ(info.mask.empty(), density == 1.0);
    std::vector<float> back(w.values.size(), kNaN);
    info.to_dense(back.data());
    EXPECT_EQ(back, w.values);
  }
  const float values[] = {0, kNaN, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(compress(values, 1, 9).values.size(), 1) << "NaN is kept";
}

TEST(Program, SaysShapesAtABatch) {
  const Program program(residual_network());
  EXPECT_EQ(program.shape(1, 4), (std::vector<Index>{4, 6, 8, 8}));
  EXPECT_EQ(program.elements(4, 3), 15);
}

// Every part broken by itself.
TEST(Program, RefusesWhatDoesNotFit) {
  const auto refused = [](auto damage, const char* part) {
    ProgramParts p = residual_network();
    damage(p);
    EXPECT_REFUSED(Program(std::move(p)), part);
  };
  refused([](ProgramParts& p) { p.nodes[0].inputs = {9}; }, "an input of first is 9");
  refused([](ProgramParts& p) { p.nodes[0].inputs = {-1}; }, "an input of first is -1");
  refused([](ProgramParts& p) { p.nodes[0].inputs = {2}; }, "before anything makes it");
  refused([](ProgramParts& p) { p.nodes[0].inputs = {}; }, "has 0 inputs; it needs 1");
  refused([](ProgramParts& p) { p.nodes[0].output = 99; }, "output of first is 99");
  refused([](ProgramParts& p) { p.nodes[1].output = 1; }, "which is there already");
  refused([](ProgramParts& p) { p.nodes[1].output = 0; }, "which is there already");
  refused([](ProgramParts& p) { p.nodes[0].weight = 3; }, "weight of first is 3");
  refused([](ProgramParts& p) { p.nodes[0].weight = 1; }, "needs 27");
  refused([](ProgramParts& p) { p.nodes[0].bias = 1; }, "bias of first has 5 elements");
  refused([](ProgramParts& p) { p.nodes[2].bias = 1; }, "is no product");
  refused([](ProgramParts& p) { p.nodes[2].residual = 1; }, "can have no residual");
  refused([](ProgramParts& p) { p.nodes[3].operation = Operation::gru; }, "has 0 numbers; it needs 1");
  refused([](ProgramParts& p) { p.nodes[1].residual = 0; }, "residual of second has another shape");
  refused([](ProgramParts& p) { p.nodes[1].residual = 2; }, "before anything makes it");
  refused([](ProgramParts& p) { p.nodes[0].numbers.pop_back(); }, "has 10 numbers; it needs 11");
  refused([](ProgramParts& p) { p.nodes[0].numbers[0] = 0; }, "must be at least 1");
  refused([](ProgramParts& p) { p.nodes[0].numbers[4] = -5; }, "must not be negative");
  refused([](ProgramParts& p) { p.nodes[0].numbers[10] = 0; }, "groups");
  refused([](ProgramParts& p) { p.nodes[0].numbers[10] = Index{1} << 40; }, "a number of first");
  refused([](ProgramParts& p) { p.nodes[0].operation = static_cast<Operation>(77); }, "operation 77");
  refused([](ProgramParts& p) { p.nodes[0].activation = static_cast<Activation::Kind>(77); }, "no such activation");
  refused([](ProgramParts& p) { p.nodes[2].activation = Activation::relu; }, "mean mean cannot have an activation");
  refused([](ProgramParts& p) { p.nodes[0].activation = {Activation::leaky_relu, kNaN}; }, "has a slope of");
  refused([](ProgramParts& p) { p.nodes[0].activation = {Activation::elu, kInf}; }, "has a slope of");
  refused([](ProgramParts& p) { p.nodes[2].operation = Operation::permute; }, "has 2 numbers; it needs 4");
  refused([](ProgramParts& p) { p.nodes[2].numbers = {4, 0}; }, "goes over 4 axes");
  refused([](ProgramParts& p) { p.values[1].shape[1].fixed = 7; }, "another shape than the operation makes");
  refused([](ProgramParts& p) { p.values[0].shape[2].fixed = -1; }, "must lie in [0");
  refused([](ProgramParts& p) { p.values[0].shape[2].per_item = 1; }, "depends on the batch");
  refused([](ProgramParts& p) { p.values[0].shape.assign(9, {1, 0}); }, "at most 8");
  refused([](ProgramParts& p) { p.values[0].shape = {{Index{1} << 39, 0}, {Index{1} << 39, 0}}; }, "63 bits");
  refused([](ProgramParts& p) { p.values[0].constant = 0; }, "depends on the batch");
  refused([](ProgramParts& p) { p.inputs = {0, 0}; }, "given twice");
  refused([](ProgramParts& p) { p.inputs = {}; }, "before anything makes it");
  refused([](ProgramParts& p) { p.outputs = {}; }, "no outputs");
  refused([](ProgramParts& p) { p.outputs = {5}; }, "an output of the program is 5");
  refused([](ProgramParts& p) { p.weights[0].mask.pop_back(); }, "bytes; it needs");
  refused([](ProgramParts& p) { p.weights[0].values.pop_back(); }, "its mask keeps");
  refused([](ProgramParts& p) { p.weights[0].mask.back() |= 0x80; }, "past its last weight");
  refused([](ProgramParts& p) { p.weights[0].rows = Index{1} << 62; }, "63 bits");
  refused([](ProgramParts& p) { p.weights[0].rows = 0; }, "must be at least 1");
}

}  // namespace
}  // namespace sparse_engine
