#include "sparse_engine/linear.hpp"

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bind.hpp"
#include "tensors.hpp"

namespace sparse_engine::bindings {
namespace {

// W · X of tensors, or None where X is no plain tensor of (K,) or (K, N).
py::object multiply_tensors(const Matrix& w, py::handle x) {
  const auto in = tensor_view(x);
  if (!in || in->rank > 2 || in->shape[0] != w.cols() || w.rows() == 0) return py::none();
  const bool wide = in->rank == 2;
  const Index columns = wide ? in->shape[1] : 1;
  const Sides shape{w.rows(), columns};
  NewTensor y(in->rank, shape);
  {
    const py::gil_scoped_release released;
    multiply(w, {in->data, in->shape[0], columns, in->strides[0], wide ? in->strides[1] : 1}, {},
             {y.view().data, w.rows(), columns, columns, 1});
  }
  return y.take();
}

// The layer on tensors, or None where one of them is not plain or the leading axes of x are not one.
py::object linear_tensors(py::handle x, const Matrix& w, py::handle bias, Activation::Kind activation, py::handle residual) {
  const auto in = tensor_view(x);
  if (!in || in->shape[in->rank - 1] != w.cols() || w.rows() == 0) return py::none();
  const int last = in->rank - 1;
  Index count = 1;
  for (int axis = last - 1; axis >= 0; --axis) {
    if (axis < last - 1 && in->strides[axis] != in->strides[axis + 1] * in->shape[axis + 1]) return py::none();
    count *= in->shape[axis];
  }
  Sides shape = in->shape;
  shape[last] = w.rows();
  NewTensor y(in->rank, shape);
  Epilogue epilogue{.activation = activation};
  if (!vector_view(bias, w.rows(), epilogue.bias) || !view_like(residual, y.view(), epilogue.residual)) return py::none();
  {
    const py::gil_scoped_release released;
    linear({in->data, count, w.cols(), last > 0 ? in->strides[last - 1] : w.cols(), in->strides[last]}, w, epilogue,
           {y.view().data, count, w.rows(), w.rows(), 1});
  }
  return y.take();
}

}  // namespace

void bind_linear(pybind11::module_& m) {
  py::enum_<Activation::Kind>(m, "Activation")
      .value("none", Activation::none)
      .value("relu", Activation::relu)
      .value("relu6", Activation::relu6)
      .value("gelu", Activation::gelu)
      .value("silu", Activation::silu)
      .value("sigmoid", Activation::sigmoid)
      .value("tanh", Activation::tanh)
      .value("hardswish", Activation::hardswish)
      .value("hardsigmoid", Activation::hardsigmoid)
      .value("leaky_relu", Activation::leaky_relu)
      .value("elu", Activation::elu)
      .value("mish", Activation::mish)
      .value("softplus", Activation::softplus)
      .value("exp", Activation::exp)
      .value("sqrt", Activation::sqrt)
      .value("log", Activation::log)
      .value("floor", Activation::floor)
      .value("erf", Activation::erf)
      .value("sin", Activation::sin)
      .value("cos", Activation::cos)
      .value("gelu_tanh", Activation::gelu_tanh);
  m.def(
      "multiply",
      [](const Matrix& w, const Floats& x, Floats& y) {
        const ConstPanel in = const_panel(x, "X");
        const Panel out = panel(y, "Y");
        py::gil_scoped_release released;
        multiply(w, in, {}, out);
      },
      py::arg("w"), py::arg("x").noconvert(), py::arg("y").noconvert());
  m.def(
      "linear",
      [](const Floats& x, const Matrix& w, const std::optional<Floats>& bias, Activation::Kind activation, Floats& y,
         const std::optional<Floats>& residual) {
        const ConstPanel in = const_panel(x, "x");
        const Panel out = panel(y, "y");
        const float* b = vector_or_null(bias, "bias", w.rows());
        const float* r = like_or_null(residual, "residual", y, "y");
        py::gil_scoped_release released;
        linear(in, w, {.bias = b, .residual = r, .activation = activation}, out);
      },
      py::arg("x").noconvert(), py::arg("w"), py::arg("bias").noconvert(), py::arg("activation"), py::arg("y").noconvert(),
      py::arg("residual").noconvert() = py::none());
  m.def("multiply_tensors", &multiply_tensors, py::arg("w"), py::arg("x"));
  m.def("linear_tensors", &linear_tensors, py::arg("x"), py::arg("w"), py::arg("bias"), py::arg("activation"),
        py::arg("residual"));
}

}  // namespace sparse_engine::bindings
