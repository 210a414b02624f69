#include "sparse_engine/bsr.hpp"

#include "arrays.hpp"
#include "bind.hpp"

namespace sparse_engine::bindings {
namespace {

std::shared_ptr<Bsr> from_dense(const Floats& weights, Index height, Index width) {
  const ConstPanel w = contiguous_panel(weights, "weights");
  py::gil_scoped_release released;
  return std::make_shared<Bsr>(Bsr::from_dense(w.data, w.rows, w.columns, {height, width}));
}

std::shared_ptr<Bsr> from_parts(const Indices& indptr, const Indices& indices, const Floats& values, Index rows, Index cols,
                                Index height, Index width) {
  const auto p = contiguous(indptr, "indptr");
  const auto i = contiguous(indices, "indices");
  const auto v = contiguous(values, "values");
  py::gil_scoped_release released;
  return std::make_shared<Bsr>(Bsr::from_parts(p, i, v, rows, cols, {height, width}));
}

py::tuple to_parts(const Bsr& bsr) {
  const std::vector<std::int64_t> columns = bsr.column_indices();
  const std::vector<float> values = bsr.values();
  return py::make_tuple(Indices(static_cast<py::ssize_t>(bsr.row_starts().size()), bsr.row_starts().data()),
                        Indices(static_cast<py::ssize_t>(columns.size()), columns.data()),
                        py::array_t<float>(static_cast<py::ssize_t>(values.size()), values.data()));
}

}  // namespace

void bind_bsr(pybind11::module_& m) {
  py::class_<Bsr, Matrix, std::shared_ptr<Bsr>>(m, "Bsr")
      .def_static("from_dense", &from_dense, py::arg("weights").noconvert(), py::arg("height"), py::arg("width"))
      .def_static("from_parts", &from_parts, py::arg("indptr").noconvert(), py::arg("indices").noconvert(),
                  py::arg("values").noconvert(), py::arg("rows"), py::arg("cols"), py::arg("height"), py::arg("width"))
      .def_property_readonly("block", [](const Bsr& bsr) { return py::make_tuple(bsr.block().height, bsr.block().width); })
      .def("to_parts", &to_parts);
}

}  // namespace sparse_engine::bindings
