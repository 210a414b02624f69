#include "session/views.hpp"

#include <algorithm>
#include <functional>

#include "small_programs.hpp"
#include "sparse_engine/session.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

struct Maker {
  ProgramParts p;

  Index value(std::vector<Size> shape) {
    p.values.push_back({"v" + std::to_string(p.values.size()), std::move(shape)});
    return static_cast<Index>(p.values.size()) - 1;
  }

  Index node(Operation operation, std::vector<Index> inputs, std::vector<Size> shape, std::vector<Index> numbers,
             Index residual = -1) {
    NodeInfo info{.operation = operation,
                  .name = std::string(name_of(operation)),
                  .inputs = std::move(inputs),
                  .residual = residual,
                  .numbers = std::move(numbers)};
    const Size& from = p.values[static_cast<std::size_t>(info.inputs[0])].shape[1];
    if (operation == Operation::linear) info.weight = weight(shape.back().fixed, last(info.inputs[0]).fixed);
    if (operation == Operation::conv2d) info.weight = weight(shape[1].fixed, from.fixed * info.numbers[0] * info.numbers[1]);
    info.output = value(std::move(shape));
    p.nodes.push_back(info);
    return info.output;
  }

  const Size& last(Index value) const { return p.values[static_cast<std::size_t>(value)].shape.back(); }

  Index weight(Index rows, Index cols) {
    const reference::Weights w = integer_weights(rows, cols, 0.5, 71 + p.weights.size());
    p.weights.push_back(compress(w.values.data(), rows, cols));
    return static_cast<Index>(p.weights.size()) - 1;
  }

  Index conv(Index x, Index channels, Index kernel, Index residual = -1) {
    std::vector<Size> shape = p.values[static_cast<std::size_t>(x)].shape;
    shape[1] = {channels};
    const Index pad = kernel / 2;
    return node(Operation::conv2d, {x}, shape, {kernel, kernel, 1, 1, pad, pad, pad, pad, 1, 1, 1}, residual);
  }

  Index channels(Index x, Index begin, Index end) {
    std::vector<Size> shape = p.values[static_cast<std::size_t>(x)].shape;
    const Index height = shape[2].fixed, width = shape[3].fixed;
    shape[1] = {end - begin};
    return node(Operation::slice, {x}, shape, {0, -1, 1, begin, end, 1, 0, height, 1, 0, width, 1});
  }

  Index concat(std::vector<Index> inputs) {
    std::vector<Size> shape = p.values[static_cast<std::size_t>(inputs[0])].shape;
    shape[1] = {};
    for (const Index input : inputs) shape[1].fixed += p.values[static_cast<std::size_t>(input)].shape[1].fixed;
    return node(Operation::concat, std::move(inputs), shape, {1});
  }
};

const std::vector<Size> kImage = {kBatch, {6}, {8}, {8}};

// Halves of channels of which one is convolved twice, joined again, as in YOLO's C2f, and joined to more, as in DenseNet.
ProgramParts joined_network() {
  Maker m;
  const Index x = m.value(kImage), a = m.conv(x, 8, 1), left = m.channels(a, 0, 4), right = m.channels(a, 4, 8);
  const Index b = m.conv(right, 4, 3), c = m.conv(b, 4, 3, b), all = m.concat({left, right, b, c}), d = m.conv(all, 5, 1);
  const Index more = m.concat({all, d}), e = m.conv(more, 3, 3), most = m.concat({all, d, e}), y = m.conv(most, 4, 1);
  m.p.inputs = {x};
  m.p.outputs = {y};
  return m.p;
}

// Attention whose q, k and v are parts of one product, for torch's order (tokens, N, features), and what makes tokens of it
// again.
ProgramParts attending_network() {
  Maker m;
  const Index x = m.value({kBatch, {6}, {8}});
  const Index turned = m.node(Operation::permute, {x}, {{6}, kBatch, {8}}, {1, 0, 2});
  const Index packed = m.node(Operation::linear, {turned}, {{6}, kBatch, {24}}, {});
  const Index apart = m.node(Operation::reshape, {packed}, {{6}, kBatch, {3}, {8}}, {});
  std::vector<Index> heads;
  for (Index i = 0; i < 3; ++i) {
    const Index one = m.node(Operation::slice, {apart}, {{6}, kBatch, {1}, {8}}, {0, 6, 1, 0, -1, 1, i, i + 1, 1, 0, 8, 1});
    const Index split = m.node(Operation::reshape, {one}, {{6}, kBatch, {2}, {4}}, {});
    heads.push_back(m.node(Operation::permute, {split}, {kBatch, {2}, {6}, {4}}, {1, 2, 0, 3}));
  }
  const Index seen = m.node(Operation::attention, heads, {kBatch, {2}, {6}, {4}}, {1, 1, 1, 1, 0});
  const Index back = m.node(Operation::permute, {seen}, {{6}, kBatch, {2}, {4}}, {2, 0, 1, 3});
  const Index flat = m.node(Operation::reshape, {back}, {{6}, kBatch, {8}}, {});
  const Index out = m.node(Operation::linear, {flat}, {{6}, kBatch, {8}}, {});
  const Index y = m.node(Operation::permute, {out}, {kBatch, {6}, {8}}, {1, 0, 2});
  m.p.inputs = {x};
  m.p.outputs = {y};
  return m.p;
}

// Planes read as rows, joined along their columns (a detector's heads), and a repeated row.
ProgramParts flattening_network() {
  Maker m;
  const Index x = m.value(kImage), a = m.conv(x, 4, 3);
  const Index half = m.node(Operation::max_pool, {x}, {kBatch, {6}, {4}, {4}}, {2, 2, 2, 2, 0, 0, 0, 0});
  const Index b = m.conv(half, 4, 1);
  const Index rows_a = m.node(Operation::reshape, {a}, {kBatch, {4}, {64}}, {});
  const Index rows_b = m.node(Operation::reshape, {b}, {kBatch, {4}, {16}}, {});
  const Index all = m.node(Operation::concat, {rows_a, rows_b}, {kBatch, {4}, {80}}, {2});
  const Index one = m.node(Operation::slice, {all}, {kBatch, {1}, {80}}, {0, -1, 1, 2, 3, 1, 0, 80, 1});
  const Index often = m.node(Operation::expand, {one}, {kBatch, {3}, {80}}, {});
  const Index turned = m.node(Operation::permute, {all}, {kBatch, {80}, {4}}, {0, 2, 1});
  const Index y = m.node(Operation::linear, {turned}, {kBatch, {80}, {5}}, {});
  const Index z = m.node(Operation::softmax, {often}, {kBatch, {3}, {80}}, {});
  m.p.inputs = {x};
  m.p.outputs = {y, z};
  return m.p;
}

// Channels of a convolution resized into what they are joined to; places that are part of a larger value.
ProgramParts resizing_network() {
  Maker m;
  const auto constant = [&](std::vector<Size> shape, std::vector<float> numbers) {
    const Index value = m.value(std::move(shape));
    m.p.values.back().constant = static_cast<Index>(m.p.constants.size());
    m.p.constants.push_back(std::move(numbers));
    return value;
  };
  const Index x = m.value(kImage), a = m.conv(x, 4, 1), left = m.channels(a, 0, 2), right = m.channels(a, 2, 4);
  const Index places = constant({{2}, {5}}, {0, 2, 3, 6, 7, 0, 0.5f, 0.25f, 0, 0.5f});
  const Index table = constant({{2}, {7}}, {9, 0, 1, 4, 5, 7, 9, 9, 0.5f, 0, 0.25f, 0.75f, 0, 9});
  const Index part = m.node(Operation::slice, {table}, {{2}, {5}}, {0, 2, 1, 1, 6, 1});
  const Index one = m.node(Operation::resize, {left, places, part}, {kBatch, {2}, {5}, {5}}, {});
  const Index two = m.node(Operation::resize, {right, part, places}, {kBatch, {2}, {5}, {5}}, {});
  const Index y = m.conv(m.concat({one, two, two}), 3, 3);
  m.p.inputs = {x};
  m.p.outputs = {y};
  return m.p;
}

const std::vector<std::function<ProgramParts()>> kNetworks = {
    resizing_network, joined_network, attending_network, flattening_network, moving_network, [] { return residual_network(); }};

std::vector<std::vector<float>> results(const ProgramParts& parts, Index batch, int threads) {
  const auto program = std::make_shared<const Program>(parts);
  Session session(program, threads);
  session.fill_arena(true);
  const Index count = program->elements(program->inputs()[0], batch);
  const std::vector<float> x = integers(count, 90);
  std::vector<std::vector<float>> found;
  std::vector<float*> outputs;
  for (const Index output : program->outputs()) found.emplace_back(program->elements(output, batch));
  for (auto& one : found) outputs.push_back(one.data());
  session.run(batch, {x.data()}, outputs);
  return found;
}

TEST(Views, ComputeWhatValuesWithMemoryOfTheirOwnDo) {
  for (std::size_t network = 0; network < kNetworks.size(); ++network) {
    const ProgramParts parts = kNetworks[network]();
    ProgramParts apart = parts;  // an output has its own
    for (const NodeInfo& node : parts.nodes) apart.outputs.push_back(node.output);
    for (const Index batch : {1, 2, 3, 4, 7})
      for (const int threads : {1, 2, 3}) {
        std::vector<std::vector<float>> expected = results(apart, batch, threads);
        expected.resize(parts.outputs.size());
        EXPECT_EQ(results(parts, batch, threads), expected) << network << ", batch " << batch << ", threads " << threads;
      }
  }
}

std::size_t steps_left(const ProgramParts& parts, Index batch, Operation operation) {
  const Program program(parts);
  const std::vector<View> views = find_views(program, batch, 0);
  std::size_t left = 0;
  for (const NodeInfo& node : program.nodes()) {
    if (node.operation != operation || views[node.output].of_input) continue;
    if (operation == Operation::concat) {
      for (std::size_t i = 0; i < node.inputs.size(); ++i)
        left += !same_place(views[node.inputs[i]], part_of(program, node, i, views[node.output], batch),
                            program.shape(node.inputs[i], batch));
    } else {
      const View& to = views[node.output];
      left += operation != Operation::permute ||
              !same_place(views[node.inputs[0]], before(node, to, program.shape(node.output, batch)),
                          program.shape(node.inputs[0], batch));
    }
  }
  return left;
}

TEST(Views, LeaveNothingToCopyWhereReadersAndMakersTakeStrides) {
  for (const Index batch : {1, 3}) {
    EXPECT_EQ(steps_left(attending_network(), batch, Operation::slice), 0) << batch;
    EXPECT_EQ(steps_left(attending_network(), batch, Operation::permute), batch == 1 ? 1 : 2)
        << batch << "; the last is an output";
  }
  EXPECT_EQ(steps_left(joined_network(), 1, Operation::concat), 0);
  EXPECT_EQ(steps_left(flattening_network(), 1, Operation::permute), 0) << "both parts are turned as they are joined";
}

TEST(Views, KeepAwayFromOutputs) {
  ProgramParts p = joined_network();
  const Index right = p.nodes[2].output;
  p.outputs.push_back(right);
  const std::vector<View> views = find_views(Program(p), 1, 0);
  EXPECT_EQ(views[right].root, right);
}

TEST(Views, DoNotCrossSegments) {
  const Program program(joined_network());
  const std::vector<View> views = find_views(program, 4, 3);  // both halves are taken image by image, and read otherwise later
  for (const std::size_t n : {1, 2}) EXPECT_EQ(views[program.nodes()[n].output].root, program.nodes()[n].output);
}

TEST(Views, StayBeforeWhatReadsRowsAlone) {
  const Program program(flattening_network());
  const std::vector<View> views = find_views(program, 2, 0);
  for (const NodeInfo& node : program.nodes()) {
    if (node.operation == Operation::expand) {
      EXPECT_EQ(views[node.output].root, node.output) << "softmax reads it";
    }
  }
}

TEST(Views, KnowRowsThatAreEquallyFarApart) {
  EXPECT_EQ(row_stride({2, 3, 4}, {12, 4, 1}), 4);
  EXPECT_EQ(row_stride({2, 3, 4}, {30, 10, 1}), 10);
  EXPECT_EQ(row_stride({2, 3, 4}, {31, 10, 1}), -1);
  EXPECT_EQ(row_stride({2, 3, 4}, {12, 1, 3}), -1);
  EXPECT_EQ(row_stride({1, 3, 4}, {99, 7, 1}), 7);
  EXPECT_EQ(row_stride({3, 1, 4}, {7, 99, 1}), 7);
  EXPECT_EQ(row_stride({4}, {1}), 4);
}

}  // namespace
}  // namespace sparse_engine
