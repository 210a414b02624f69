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
      [](const Floats& x, const Matrix& w, const std::optional<Floats>& bias, Activation activation, Floats& y) {
        const ConstPanel in = const_panel(x, "x");
        const Panel out = panel(y, "y");
        const float* b = vector_or_null(bias, "bias", w.rows());
        py::gil_scoped_release released;
        linear(in, w, {.bias = b, .activation = activation}, out);
      },
      py::arg("x").noconvert(), py::arg("w"), py::arg("bias").noconvert(), py::arg("activation"), py::arg("y").noconvert());
}

}  // namespace sparse_engine::bindings
