#include "sparse_engine/matrix.hpp"

#include "arrays.hpp"
#include "bind.hpp"

namespace sparse_engine::bindings {
namespace {

py::array_t<float> to_dense(const Matrix& matrix) {
  py::array_t<float> out({matrix.rows(), matrix.cols()});
  matrix.to_dense(out.mutable_data());
  return out;
}

}  // namespace

void bind_matrix(pybind11::module_& m) {
  py::enum_<ValueType>(m, "ValueType")
      .value("float32", ValueType::float32)
      .value("bfloat16", ValueType::bfloat16)
      .value("float16", ValueType::float16)
      .value("int8", ValueType::int8);
  py::class_<Matrix, std::shared_ptr<Matrix>>(m, "Matrix")
      .def_property_readonly("rows", &Matrix::rows)
      .def_property_readonly("cols", &Matrix::cols)
      .def_property_readonly("nnz", &Matrix::nnz)
      .def_property_readonly("nbytes", &Matrix::bytes)
      .def_property_readonly("layout_nbytes", &Matrix::layout_bytes)
      .def("to_dense", &to_dense);
}

}  // namespace sparse_engine::bindings
