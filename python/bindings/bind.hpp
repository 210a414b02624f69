// One binder per concept, one file each. Enumerations are py::enum_: native_enum takes names apart by streams, and with them
// the locale's facets come into the module (cpp/src/base/check.hpp says why they must not; tests/gates/exports.py finds them).
#pragma once

#include <pybind11/pybind11.h>

namespace sparse_engine::bindings {

void bind_runtime(pybind11::module_& m);
void bind_buffers(pybind11::module_& m);
void bind_matrix(pybind11::module_& m);
void bind_bitmask(pybind11::module_& m);
void bind_bsr(pybind11::module_& m);
void bind_nm(pybind11::module_& m);
void bind_csr(pybind11::module_& m);
void bind_linear(pybind11::module_& m);
void bind_conv(pybind11::module_& m);
void bind_conv3d(pybind11::module_& m);
void bind_interleave(pybind11::module_& m);
void bind_cost_model(pybind11::module_& m);
void bind_mask(pybind11::module_& m);
void bind_recurrent(pybind11::module_& m);
void bind_groups(pybind11::module_& m);
void bind_program(pybind11::module_& m);
void bind_session(pybind11::module_& m);

}  // namespace sparse_engine::bindings
