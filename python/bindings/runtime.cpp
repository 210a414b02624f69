#include "sparse_engine/runtime.hpp"

#include <pybind11/stl.h>

#include "bind.hpp"

namespace sparse_engine::bindings {

void bind_runtime(pybind11::module_& m) {
  m.def("isa", [] { return std::string(isa()); });
  m.def("supported_isas", &supported_isas);
  m.def("set_isa", [](const std::string& name) { set_isa(name); });
  m.def("num_threads", &num_threads);
  m.def("set_num_threads", &set_num_threads);
  m.def("thread_backend", [] { return std::string(thread_backend()); });
  m.attr("compiler") = __VERSION__;
}

}  // namespace sparse_engine::bindings
