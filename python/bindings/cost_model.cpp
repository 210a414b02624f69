#include "sparse_engine/cost_model.hpp"

#include "bind.hpp"

namespace sparse_engine::bindings {

void bind_cost_model(pybind11::module_& m) {
  m.attr("narrow_columns") = kSkinnyColumns;
  m.def("product_cost", &product_cost, pybind11::arg("format"), pybind11::arg("density"), pybind11::arg("columns"));
}

}  // namespace sparse_engine::bindings
