#include "sparse_engine/nm.hpp"

#include "arrays.hpp"
#include "bind.hpp"

namespace sparse_engine::bindings {
namespace {

using Positions = py::array_t<std::uint8_t, 0>;

std::shared_ptr<Nm> from_dense(const Floats& weights, Index n, Index m) {
  const ConstPanel w = contiguous_panel(weights, "weights");
  py::gil_scoped_release released;
  return std::make_shared<Nm>(Nm::from_dense(w.data, w.rows, w.columns, {n, m}));
}

std::shared_ptr<Nm> from_parts(const Floats& values, const Positions& indices, Index rows, Index cols, Index n, Index m) {
  const auto v = contiguous(values, "values");
  const auto i = contiguous(indices, "indices");
  py::gil_scoped_release released;
  return std::make_shared<Nm>(Nm::from_parts(v, i, rows, cols, {n, m}));
}

py::tuple to_parts(const Nm& nm) {
  const std::vector<float> values = nm.values();
  const std::vector<std::uint8_t> positions = nm.positions();
  return py::make_tuple(py::array_t<float>(static_cast<py::ssize_t>(values.size()), values.data()),
                        Positions(static_cast<py::ssize_t>(positions.size()), positions.data()));
}

}  // namespace

void bind_nm(pybind11::module_& m) {
  py::class_<Nm, Matrix, std::shared_ptr<Nm>>(m, "Nm")
      .def_static("from_dense", &from_dense, py::arg("weights").noconvert(), py::arg("n"), py::arg("m"))
      .def_static("from_parts", &from_parts, py::arg("values").noconvert(), py::arg("indices").noconvert(), py::arg("rows"),
                  py::arg("cols"), py::arg("n"), py::arg("m"))
      .def_property_readonly("group", [](const Nm& nm) { return py::make_tuple(nm.group().n, nm.group().m); })
      .def("to_parts", &to_parts);
}

}  // namespace sparse_engine::bindings
