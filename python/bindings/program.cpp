#include "sparse_engine/program.hpp"

#include <pybind11/stl.h>

#include <utility>

#include "arrays.hpp"
#include "bind.hpp"

namespace sparse_engine::bindings {
namespace {

using PlainFloats = py::array_t<float, py::array::c_style>;
using Shape = std::vector<std::pair<Index, Index>>;  // (fixed, per item)

std::vector<float> copied(const PlainFloats& a) { return {a.data(), a.data() + a.size()}; }

Shape shape_of(const ValueInfo& value) {
  Shape shape;
  for (const Size& size : value.shape) shape.emplace_back(size.fixed, size.per_item);
  return shape;
}

// Parts one after another; the program checks them when it is built.
class Builder {
 public:
  Index add_value(std::string name, const Shape& shape) {
    ValueInfo value{std::move(name), {}, -1};
    for (const auto& [fixed, per_item] : shape) value.shape.push_back({fixed, per_item});
    parts_.values.push_back(std::move(value));
    return static_cast<Index>(parts_.values.size()) - 1;
  }

  Index add_constant(const PlainFloats& a) {
    parts_.constants.push_back(copied(a));
    return static_cast<Index>(parts_.constants.size()) - 1;
  }

  Index add_constant_value(std::string name, const PlainFloats& a) {
    Shape shape;
    for (py::ssize_t axis = 0; axis < a.ndim(); ++axis) shape.emplace_back(a.shape(axis), 0);
    const Index value = add_value(std::move(name), shape);
    parts_.values.back().constant = add_constant(a);
    return value;
  }

  Index add_weight(const PlainFloats& a) {
    check_rank(a, "weight", 2);
    parts_.weights.push_back(compress(a.data(), a.shape(0), a.shape(1)));
    return static_cast<Index>(parts_.weights.size()) - 1;
  }

  void add_node(const std::string& operation, std::string name, std::vector<Index> inputs, Index output, Index weight,
                Index bias, Index residual, Activation::Kind activation, float slope, std::vector<Index> numbers) {
    parts_.nodes.push_back({operation_named(operation),
                            std::move(name),
                            std::move(inputs),
                            output,
                            weight,
                            bias,
                            residual,
                            {activation, slope},
                            std::move(numbers)});
  }

  std::shared_ptr<Program> build(std::vector<Index> inputs, std::vector<Index> outputs, std::string about) {
    parts_.inputs = std::move(inputs);
    parts_.outputs = std::move(outputs);
    parts_.about = std::move(about);
    return std::make_shared<Program>(std::exchange(parts_, {}));
  }

 private:
  ProgramParts parts_;
};

py::list values_of(const Program& program, const std::vector<Index>& which) {
  py::list values;
  for (const Index value : which) {
    const ValueInfo& info = program.values()[static_cast<std::size_t>(value)];
    values.append(py::make_tuple(info.name, shape_of(info)));
  }
  return values;
}

py::list nodes_of(const Program& program) {
  py::list nodes;
  for (const NodeInfo& node : program.nodes()) {
    py::dict d;
    d["operation"] = name_of(node.operation);
    d["name"] = node.name;
    d["shape"] = shape_of(program.values()[static_cast<std::size_t>(node.output)]);
    d["residual"] = node.residual != -1;
    d["activation"] = node.activation.kind;
    d["weight"] = py::none();
    if (node.weight != -1) {
      const WeightInfo& w = program.weights()[static_cast<std::size_t>(node.weight)];
      d["weight"] = py::make_tuple(w.rows, w.cols, w.values.size());
    }
    nodes.append(d);
  }
  return nodes;
}

}  // namespace

void bind_program(pybind11::module_& m) {
  py::class_<Program, std::shared_ptr<Program>>(m, "Program")
      .def_static("from_bytes",
                  [](const py::bytes& bytes) {
                    const std::string_view view = bytes;
                    return std::make_shared<Program>(
                        Program::from_bytes({reinterpret_cast<const std::uint8_t*>(view.data()), view.size()}));
                  })
      .def("to_bytes",
           [](const Program& program) {
             const std::vector<std::uint8_t> bytes = program.to_bytes();
             return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
           })
      .def_property_readonly("inputs", [](const Program& program) { return values_of(program, program.inputs()); })
      .def_property_readonly("outputs", [](const Program& program) { return values_of(program, program.outputs()); })
      .def_property_readonly("nodes", &nodes_of)
      .def_property_readonly("about", &Program::about);
  py::class_<Builder>(m, "ProgramBuilder")
      .def(py::init<>())
      .def("add_value", &Builder::add_value, py::arg("name"), py::arg("shape"))
      .def("add_constant", &Builder::add_constant, py::arg("array"))
      .def("add_constant_value", &Builder::add_constant_value, py::arg("name"), py::arg("array"))
      .def("add_weight", &Builder::add_weight, py::arg("array"))
      .def("add_node", &Builder::add_node, py::arg("operation"), py::arg("name"), py::arg("inputs"), py::arg("output"),
           py::arg("weight"), py::arg("bias"), py::arg("residual"), py::arg("activation"), py::arg("slope"), py::arg("numbers"))
      .def("build", &Builder::build, py::arg("inputs"), py::arg("outputs"), py::arg("about"));
}

}  // namespace sparse_engine::bindings
