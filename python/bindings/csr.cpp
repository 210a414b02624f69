#include "sparse_engine/csr.hpp"

#include "arrays.hpp"
#include "bind.hpp"

namespace sparse_engine::bindings {
namespace {

std::shared_ptr<Csr> from_dense(const Floats& weights, ValueType type) {
  const ConstPanel w = contiguous_panel(weights, "weights");
  py::gil_scoped_release released;
  return std::make_shared<Csr>(Csr::from_dense(w.data, w.rows, w.columns, type));
}

std::shared_ptr<Csr> from_parts(const Indices& indptr, const Indices& indices, const Floats& values, Index rows, Index cols) {
  const auto p = contiguous(indptr, "indptr");
  const auto i = contiguous(indices, "indices");
  const auto v = contiguous(values, "values");
  py::gil_scoped_release released;
  return std::make_shared<Csr>(Csr::from_parts(p, i, v, rows, cols));
}

py::tuple to_parts(const Csr& csr) {
  const std::vector<std::int64_t> columns = csr.column_indices();
  const std::vector<float> values = csr.values();
  return py::make_tuple(Indices(static_cast<py::ssize_t>(csr.row_starts().size()), csr.row_starts().data()),
                        Indices(static_cast<py::ssize_t>(columns.size()), columns.data()),
                        py::array_t<float>(static_cast<py::ssize_t>(values.size()), values.data()));
}

}  // namespace

void bind_csr(pybind11::module_& m) {
  py::class_<Csr, Matrix, std::shared_ptr<Csr>>(m, "Csr")
      .def_static("from_dense", &from_dense, py::arg("weights").noconvert(), py::arg("type") = ValueType::float32)
      .def_static("from_parts", &from_parts, py::arg("indptr").noconvert(), py::arg("indices").noconvert(),
                  py::arg("values").noconvert(), py::arg("rows"), py::arg("cols"))
      .def_property_readonly("value_type", &Csr::value_type)
      .def("to_parts", &to_parts);
}

}  // namespace sparse_engine::bindings
