#include "sparse_engine/session.hpp"

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bind.hpp"

namespace sparse_engine::bindings {
namespace {

using PlainFloats = py::array_t<float, py::array::c_style>;

const float* checked(const Program& program, Index value, Index batch, const py::array& array, const char* what) {
  const std::vector<Index> shape = program.shape(value, batch);
  const std::string& name = program.values()[static_cast<std::size_t>(value)].name;
  bool fits = py::isinstance<PlainFloats>(array) && array.ndim() == static_cast<py::ssize_t>(shape.size());
  for (std::size_t axis = 0; fits && axis < shape.size(); ++axis)
    fits = array.shape(static_cast<py::ssize_t>(axis)) == shape[axis];
  if (!fits) throw py::value_error(std::string(what) + " " + name + " must be a C-contiguous float32 array of its shape");
  check_rank(array, name.c_str(), array.ndim());  // its alignment
  return static_cast<const float*>(array.data());
}

struct Call {
  Call(const Session& session, Index batch, const std::vector<py::array>& in, const std::vector<py::array>& out) {
    const Program& program = session.program();
    if (in.size() != program.inputs().size() || out.size() != program.outputs().size())
      throw py::value_error("the program has " + std::to_string(program.inputs().size()) + " inputs and " +
                            std::to_string(program.outputs().size()) + " outputs; other numbers were given");
    if (batch < 0) throw py::value_error("batch is " + std::to_string(batch) + "; it must not be negative");
    for (std::size_t i = 0; i < in.size(); ++i) inputs.push_back(checked(program, program.inputs()[i], batch, in[i], "input"));
    for (std::size_t i = 0; i < out.size(); ++i) {
      checked(program, program.outputs()[i], batch, out[i], "output");
      outputs.push_back(static_cast<float*>(const_cast<py::array&>(out[i]).mutable_data()));
    }
  }
  std::vector<const float*> inputs;
  std::vector<float*> outputs;
};

// Arrays of all calls' elements, one call behind the other.
template <typename Pointer>
std::vector<Pointer> of_all_calls(const Program& program, const std::vector<Index>& values, const std::vector<Index>& sizes,
                                  const std::vector<py::array>& arrays, const char* what) {
  std::vector<Pointer> pointers;
  if (arrays.size() != values.size())
    throw py::value_error("the program has " + std::to_string(values.size()) + " " + what + "s; " +
                          std::to_string(arrays.size()) + " were given");
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const std::string& name = program.values()[static_cast<std::size_t>(values[i])].name;
    Index floats = 0;
    for (const Index size : sizes) {
      if (size < 0) throw py::value_error("a size is " + std::to_string(size) + "; it must not be negative");
      floats += program.elements(values[i], size);
      if (floats > arrays[i].size()) break;  // before it wraps
    }
    if (!py::isinstance<PlainFloats>(arrays[i]) || arrays[i].ndim() != 1 || arrays[i].size() != floats)
      throw py::value_error(std::string(what) + " " + name + " must be a C-contiguous float32 array of one axis that holds " +
                            "the elements of all calls");
    check_rank(arrays[i], name.c_str(), 1);  // its alignment
    if constexpr (std::is_const_v<std::remove_pointer_t<Pointer>>)
      pointers.push_back(static_cast<Pointer>(arrays[i].data()));
    else
      pointers.push_back(static_cast<Pointer>(const_cast<py::array&>(arrays[i]).mutable_data()));
  }
  return pointers;
}

}  // namespace

void bind_session(pybind11::module_& m) {
  py::class_<Session, std::shared_ptr<Session>>(m, "Session")
      .def(py::init<std::shared_ptr<Program>, int>(), py::arg("program"), py::arg("threads") = 0)
      .def("with_threads", [](const Session& s, int threads) { return std::make_shared<Session>(s.with_threads(threads)); })
      .def_property_readonly("threads", &Session::threads)
      .def(
          "run",
          [](const Session& s, Index batch, const std::vector<py::array>& inputs, const std::vector<py::array>& outputs) {
            const Call call(s, batch, inputs, outputs);
            const py::gil_scoped_release released;
            s.run(batch, call.inputs, call.outputs);
          },
          py::arg("batch"), py::arg("inputs"), py::arg("outputs"))
      .def(
          "run_several",
          [](const Session& s, const std::vector<Index>& sizes, const std::vector<py::array>& inputs,
             const std::vector<py::array>& outputs) {
            const auto in = of_all_calls<const float*>(s.program(), s.program().inputs(), sizes, inputs, "input");
            const auto out = of_all_calls<float*>(s.program(), s.program().outputs(), sizes, outputs, "output");
            const py::gil_scoped_release released;
            s.run_several(sizes, in, out);
          },
          py::arg("sizes"), py::arg("inputs"), py::arg("outputs"))
      .def(
          "profile",
          [](const Session& s, Index batch, const std::vector<py::array>& inputs, const std::vector<py::array>& outputs) {
            const Call call(s, batch, inputs, outputs);
            std::vector<NodeProfile> found;
            {
              const py::gil_scoped_release released;
              found = s.profile(batch, call.inputs, call.outputs);
            }
            py::list rows;
            for (const NodeProfile& row : found)
              rows.append(py::make_tuple(row.node, row.kernel, row.runs, row.seconds, row.multiply_adds, row.bytes));
            return rows;
          },
          py::arg("batch"), py::arg("inputs"), py::arg("outputs"))
      .def("arena_nbytes", &Session::arena_bytes, py::arg("batch"))
      .def_property_readonly("weight_nbytes", &Session::weight_bytes)
      .def("fill_arena", &Session::fill_arena, py::arg("fill"));
}

}  // namespace sparse_engine::bindings
