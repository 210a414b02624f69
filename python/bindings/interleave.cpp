#include "sparse_engine/interleave.hpp"

#include <pybind11/stl.h>

#include <array>

#include "arrays.hpp"
#include "bind.hpp"

namespace sparse_engine::bindings {

void bind_interleave(pybind11::module_& m) {
  m.def(
      "interleave",
      [](const Floats& x, Index groups, const std::array<Index, 3>& stride, Floats& y) {
        const ConstVolumes in = const_volumes(x, "x");
        const Volumes out = volumes(y, "y");
        py::gil_scoped_release released;
        interleave(in, {.groups = groups, .stride_d = stride[0], .stride_h = stride[1], .stride_w = stride[2]}, out);
      },
      py::arg("x").noconvert(), py::arg("groups"), py::arg("stride"), py::arg("y").noconvert());
}

}  // namespace sparse_engine::bindings
