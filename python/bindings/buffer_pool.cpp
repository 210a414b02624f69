#include "sparse_engine/buffer_pool.hpp"

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bind.hpp"

namespace sparse_engine::bindings {
namespace {

py::array_t<float> result_array(const std::vector<py::ssize_t>& shape) {
  Index floats = 1;
  for (const py::ssize_t side : shape)
    if (side < 0 || __builtin_mul_overflow(floats, side, &floats))
      throw py::value_error("the result's shape does not fit 63 bits");
  auto* owner = new std::shared_ptr<float[]>(result_buffer(floats));
  const py::capsule base(owner, [](void* p) { delete static_cast<std::shared_ptr<float[]>*>(p); });
  return py::array_t<float>(shape, owner->get(), base);
}

}  // namespace

void bind_buffers(pybind11::module_& m) {
  m.def("result_array", &result_array, py::arg("shape"));
  m.def("release_buffers", &release_buffers);
}

}  // namespace sparse_engine::bindings
