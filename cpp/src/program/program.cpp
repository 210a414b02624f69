#include "sparse_engine/program.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/check.hpp"
#include "program/shapes.hpp"

namespace sparse_engine {
namespace {

struct OperationInfo {
  std::string_view name;
  std::size_t numbers, numbers_per_axis;
};

constexpr OperationInfo kOperations[] = {
#define OPERATION(name, numbers, numbers_per_axis) {#name, numbers, numbers_per_axis},
#include "sparse_engine/operations.inc"
#undef OPERATION
};

void check_index(Index index, std::size_t count, const char* what, const std::string& whose) {
  check(index >= 0 && index < static_cast<Index>(count), what, " of ", whose, " is ", index, "; it must lie in [0, ", count,
        ")");
}

void check_weight(const WeightInfo& w, std::size_t number) {
  check(w.rows >= 1 && w.cols >= 1, "weight ", number, " is ", w.rows, " × ", w.cols, "; both must be at least 1");
  const Index size = checked_mul(w.rows, w.cols, "weight");
  Index stored = size;
  if (!w.mask.empty()) {
    check(static_cast<Index>(w.mask.size()) == (size + 7) / 8, "weight ", number, " has a mask of ", w.mask.size(),
          " bytes; it needs ", (size + 7) / 8);
    stored = 0;
    for (const std::uint8_t byte : w.mask) stored += std::popcount(byte);
    check(size % 8 == 0 || w.mask.back() >> (size % 8) == 0, "weight ", number, " has bits set past its last weight");
  }
  check(static_cast<Index>(w.values.size()) == stored, "weight ", number, " has ", w.values.size(), " values; its mask keeps ",
        stored);
}

void check_node(const ProgramParts& p, const NodeInfo& node, const std::vector<bool>& known) {
  const auto operation = static_cast<std::size_t>(node.operation);
  check(operation < std::size(kOperations), "node ", node.name, " has operation ", operation, "; there are ",
        std::size(kOperations));
  constexpr Index kMostNumber = Index{1} << 31;
  for (const Index number : node.numbers)
    check(number > -kMostNumber && number < kMostNumber, "a number of ", node.name, " is ", number);
  check(node.activation <= Activation::kLast, "activation of ", node.name, " is ", static_cast<int>(node.activation),
        "; there is no such activation");
  check(std::isfinite(node.activation.slope), "activation of ", node.name, " has a slope of ", node.activation.slope);
  std::vector<std::vector<Size>> inputs;
  for (const Index input : node.inputs) {
    check_index(input, p.values.size(), "an input", node.name);
    check(known[static_cast<std::size_t>(input)], "node ", node.name, " reads value ", input, " before anything makes it");
    inputs.push_back(p.values[static_cast<std::size_t>(input)].shape);
  }
  const OperationInfo& info = kOperations[operation];
  const std::size_t numbers = info.numbers + info.numbers_per_axis * (inputs.empty() ? 0 : inputs[0].size());
  check(node.numbers.size() == numbers, info.name, " ", node.name, " has ", node.numbers.size(), " numbers; it needs ",
        numbers);
  check_index(node.output, p.values.size(), "output", node.name);
  check(!known[static_cast<std::size_t>(node.output)], "node ", node.name, " makes value ", node.output,
        ", which is there already");
  const bool product = is_convolution(node.operation) || node.operation == Operation::linear;
  const bool weighted = product || is_recurrent(node.operation);
  check(weighted || (node.weight == -1 && node.bias == -1), "node ", node.name,
        " is no product; it can have no weight, bias or residual");
  check(product || node.residual == -1, "node ", node.name, " is no product; it can have no residual");
  check(product || is_elementwise(node.operation) || node.activation == Activation::none, name_of(node.operation), " ",
        node.name, " cannot have an activation");
  const WeightInfo* weight = nullptr;
  if (weighted) {
    check_index(node.weight, p.weights.size(), "weight", node.name);
    weight = &p.weights[static_cast<std::size_t>(node.weight)];
    if (node.bias != -1) {
      check_index(node.bias, p.constants.size(), "bias", node.name);
      const std::size_t length = p.constants[static_cast<std::size_t>(node.bias)].size();
      check(static_cast<Index>(length) == weight->rows, "bias of ", node.name, " has ", length, " elements; it needs ",
            weight->rows);
    }
  }
  const std::vector<Size>& declared = p.values[static_cast<std::size_t>(node.output)].shape;
  check(result_shape(node, inputs, weight, declared) == declared, "output of ", name_of(node.operation), " ", node.name,
        " has another shape than the operation makes");
  if (node.residual != -1) {
    check_index(node.residual, p.values.size(), "residual", node.name);
    const auto residual = static_cast<std::size_t>(node.residual);
    check(known[residual], "node ", node.name, " adds value ", node.residual, " before anything makes it");
    check(p.values[residual].shape == declared, "residual of ", node.name, " has another shape than its output");
  }
}

}  // namespace

std::string_view name_of(Operation operation) {
  const auto number = static_cast<std::size_t>(operation);
  return number < std::size(kOperations) ? kOperations[number].name : "unknown";
}

Operation operation_named(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kOperations); ++i)
    if (kOperations[i].name == name) return static_cast<Operation>(i);
  check(false, "there is no operation called ", name);
  return {};
}

void WeightInfo::to_dense(float* out) const {
  if (mask.empty()) {
    std::copy(values.begin(), values.end(), out);
    return;
  }
  const float* next = values.data();
  const Index size = rows * cols;
  for (Index i = 0; i < size; ++i) out[i] = mask[static_cast<std::size_t>(i / 8)] >> (i % 8) & 1 ? *next++ : 0.0f;
}

WeightInfo compress(const float* weights, Index rows, Index cols) {
  WeightInfo w{rows, cols, {}, {}};
  const Index size = checked_mul(rows, cols, "weight");
  Index stored = 0;
  for (Index i = 0; i < size; ++i) stored += weights[i] != 0;
  if (stored * 4 + (size + 7) / 8 >= size * 4) {
    w.values.assign(weights, weights + size);
    return w;
  }
  w.mask.assign(static_cast<std::size_t>((size + 7) / 8), 0);
  w.values.reserve(static_cast<std::size_t>(stored));
  for (Index i = 0; i < size; ++i) {
    if (weights[i] == 0) continue;
    w.mask[static_cast<std::size_t>(i / 8)] |= static_cast<std::uint8_t>(1u << (i % 8));
    w.values.push_back(weights[i]);
  }
  return w;
}

Program::Program(ProgramParts parts) : parts_(std::move(parts)) {
  const ProgramParts& p = parts_;
  for (std::size_t i = 0; i < p.weights.size(); ++i) check_weight(p.weights[i], i);
  std::vector<bool> known(p.values.size(), false);
  for (std::size_t i = 0; i < p.values.size(); ++i) {
    const ValueInfo& value = p.values[i];
    constexpr Index kMostSize = Index{1} << 40;
    check(value.shape.size() <= 8, "value ", value.name, " has ", value.shape.size(), " axes; at most 8 are supported");
    for (const Size& size : value.shape)
      check(size.fixed >= 0 && size.per_item >= 0 && size.fixed < kMostSize && size.per_item < kMostSize, "value ", value.name,
            " has a size of ", size.fixed, " + ", size.per_item, " · N; both must lie in [0, 2⁴⁰)");
    elements_at(value.shape, 1);
    if (value.constant == -1) continue;
    check_index(value.constant, p.constants.size(), "constant", value.name);
    for (const Size& size : value.shape) check(size.per_item == 0, "constant ", value.name, " depends on the batch");
    const std::size_t length = p.constants[static_cast<std::size_t>(value.constant)].size();
    check(elements_at(value.shape, 1) == static_cast<Index>(length), "constant ", value.name, " has ", length,
          " elements; its shape has ", elements_at(value.shape, 1));
    known[i] = true;
  }
  for (const Index input : p.inputs) {
    check_index(input, p.values.size(), "an input", "the program");
    const auto i = static_cast<std::size_t>(input);
    check(!known[i], "input ", p.values[i].name, " is given twice, or is a constant");
    known[i] = true;
  }
  for (const NodeInfo& node : p.nodes) {
    check_node(p, node, known);
    known[static_cast<std::size_t>(node.output)] = true;
  }
  check(!p.outputs.empty(), "the program has no outputs");
  for (const Index output : p.outputs) {
    check_index(output, p.values.size(), "an output", "the program");
    check(known[static_cast<std::size_t>(output)], "output ", p.values[static_cast<std::size_t>(output)].name,
          " is made by no node");
  }
}

std::vector<Index> Program::shape(Index value, Index batch) const {
  std::vector<Index> result;
  for (const Size& size : parts_.values[static_cast<std::size_t>(value)].shape) result.push_back(size.at(batch));
  return result;
}

Index Program::elements(Index value, Index batch) const {
  return elements_at(parts_.values[static_cast<std::size_t>(value)].shape, batch);
}

}  // namespace sparse_engine
