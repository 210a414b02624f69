#include "sparse_engine/linear.hpp"

#include <pybind11/native_enum.h>
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bind.hpp"

namespace sparse_engine::bindings {

void bind_linear(pybind11::module_& m) {
  py::native_enum<Activation>(m, "Activation", "enum.Enum")
      .value("none", Activation::none)
      .value("relu", Activation::relu)
      .value("relu6", Activation::relu6)
      .value("gelu", Activation::gelu)
      .value("silu", Activation::silu)
      .value("sigmoid", Activation::sigmoid)
      .value("tanh", Activation::tanh)
      .value("hardswish", Activation::hardswish)
      .finalize();
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
      [](const Floats& x, const Matrix& w, const std::optional<Floats>& bias, Activation activation, Floats& y,
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
}

}  // namespace sparse_engine::bindings
