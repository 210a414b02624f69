// A model as a list of operations, with its weights. Immutable and portable: this is what a file holds. Nothing in it depends
// on a machine, a number of threads or a batch size; session.hpp runs it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sparse_engine/types.hpp"

namespace sparse_engine {

// A size that may depend on the batch: fixed + per_item · N.
struct Size {
  Index fixed = 0;
  Index per_item = 0;

  Index at(Index batch) const { return fixed + per_item * batch; }
  bool operator==(const Size&) const = default;
};

enum class Operation : std::uint32_t {
#define OPERATION(name, numbers, numbers_per_axis) name,
#include "sparse_engine/operations.inc"
#undef OPERATION
};

std::string_view name_of(Operation operation);
// Throws std::invalid_argument for a name that no operation has.
Operation operation_named(std::string_view name);

// A tensor of float32 that a program reads, computes or holds.
struct ValueInfo {
  std::string name;
  std::vector<Size> shape;
  Index constant = -1;  // which of the program's constants, or -1
};

// One operation. `numbers`: its parameters, in the order that operations.inc gives.
struct NodeInfo {
  Operation operation;
  std::string name;  // of the module it comes from
  std::vector<Index> inputs;
  Index output = -1;
  Index weight = -1;                         // of products
  Index bias = -1;                           // a constant, one number for each row of the weight, or -1
  Index residual = -1;                       // a value of the output's shape that is added before the activation, or -1
  Activation activation = Activation::none;  // of products and elementwise operations
  std::vector<Index> numbers;
};

// A matrix, compressed: `mask` has one bit per weight (bit i % 8 of byte i / 8, row-major), values are those whose bit is set.
// Without a mask all are stored.
struct WeightInfo {
  Index rows = 0, cols = 0;
  std::vector<std::uint8_t> mask;
  std::vector<float> values;

  void to_dense(float* out) const;
};

struct ProgramParts {
  std::vector<ValueInfo> values;
  std::vector<std::vector<float>> constants;
  std::vector<WeightInfo> weights;
  std::vector<NodeInfo> nodes;         // in an order they can run in
  std::vector<Index> inputs, outputs;  // values
  std::string about;                   // whatever its maker wants to find again
};

// Keeps the weights that are not 0 (NaN is kept); all of them where that is smaller.
WeightInfo compress(const float* weights, Index rows, Index cols);

class Program {
 public:
  // Takes the parts after checking them all: indices, shapes of every value against what its operation makes, order, sizes.
  // Throws std::invalid_argument.
  explicit Program(ProgramParts parts);

  // What `bytes` hold, checked like untrusted input. Throws std::invalid_argument.
  static Program from_bytes(std::span<const std::uint8_t> bytes);
  std::vector<std::uint8_t> to_bytes() const;

  const std::vector<ValueInfo>& values() const { return parts_.values; }
  const std::vector<std::vector<float>>& constants() const { return parts_.constants; }
  const std::vector<WeightInfo>& weights() const { return parts_.weights; }
  const std::vector<NodeInfo>& nodes() const { return parts_.nodes; }
  const std::vector<Index>& inputs() const { return parts_.inputs; }
  const std::vector<Index>& outputs() const { return parts_.outputs; }
  const std::string& about() const { return parts_.about; }

  std::vector<Index> shape(Index value, Index batch) const;
  Index elements(Index value, Index batch) const;

 private:
  ProgramParts parts_;
};

}  // namespace sparse_engine
