#include "sparse_engine/bitmask.hpp"

#include "arrays.hpp"
#include "bind.hpp"

namespace sparse_engine::bindings {
namespace {

using Bytes = py::array_t<std::uint8_t, 0>;

std::shared_ptr<Bitmask> from_dense(const Floats& weights, ValueType type) {
  const ConstPanel w = contiguous_panel(weights, "weights");
  py::gil_scoped_release released;
  return std::make_shared<Bitmask>(Bitmask::from_dense(w.data, w.rows, w.columns, type));
}

std::shared_ptr<Bitmask> from_parts(const Bytes& mask, const Floats& values, Index rows, Index cols, ValueType type) {
  const auto m = contiguous(mask, "mask");
  const auto v = contiguous(values, "values");
  py::gil_scoped_release released;
  return std::make_shared<Bitmask>(Bitmask::from_parts(m, v, rows, cols, type));
}

py::tuple to_parts(const Bitmask& matrix) {
  const std::vector<std::uint8_t> mask = matrix.mask();
  const std::vector<float> values = matrix.values();
  return py::make_tuple(Bytes(static_cast<py::ssize_t>(mask.size()), mask.data()),
                        py::array_t<float>(static_cast<py::ssize_t>(values.size()), values.data()));
}

}  // namespace

void bind_bitmask(pybind11::module_& m) {
  py::class_<Bitmask, Matrix, std::shared_ptr<Bitmask>>(m, "Bitmask")
      .def_static("from_dense", &from_dense, py::arg("weights").noconvert(), py::arg("type") = ValueType::float32)
      .def_static("from_parts", &from_parts, py::arg("mask").noconvert(), py::arg("values").noconvert(), py::arg("rows"),
                  py::arg("cols"), py::arg("type") = ValueType::float32)
      .def_property_readonly("value_type", &Bitmask::value_type)
      .def("to_parts", &to_parts);
}

}  // namespace sparse_engine::bindings
