#include "sparse_engine/recurrent.hpp"

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bind.hpp"

namespace sparse_engine::bindings {
namespace {

void check_contiguous(const Floats& a, const char* name, py::ssize_t rank) {
  check_rank(a, name, rank);
  if (!(a.flags() & py::array::c_style)) throw py::value_error(std::string(name) + " must be C-contiguous");
}

// The arrays of one direction as the library takes them; everything is checked that the library cannot see.
Sequence sequence(Floats& gates, Floats& h, Floats* c, Floats& y, Index factor, bool backwards) {
  check_contiguous(gates, "gates", 3);
  check_contiguous(h, "h", 2);
  check_rank(y, "y", 3);
  const Index steps = gates.shape(0), batch = gates.shape(1), hidden = h.shape(1);
  const auto wrong = [](const std::string& text) { throw py::value_error(text + "; gates, h, c and y must agree"); };
  if (h.shape(0) != batch) wrong("h has " + std::to_string(h.shape(0)) + " rows, gates a batch of " + std::to_string(batch));
  if (gates.shape(2) != factor * hidden)
    wrong("gates has " + std::to_string(gates.shape(2)) + " entries a step, not " + std::to_string(factor * hidden));
  if (y.shape(0) != steps || y.shape(1) != batch || y.shape(2) != hidden)
    wrong("y has another shape than (steps, batch, hidden)");
  if (y.size() > 0 && hidden > 1 && stride(y, 2) != 1) throw py::value_error("the last axis of y must be contiguous");
  if (c) {
    check_contiguous(*c, "c", 2);
    if (c->shape(0) != batch || c->shape(1) != hidden) wrong("c has another shape than h");
  }
  return {.steps = steps,
          .batch = batch,
          .hidden = hidden,
          .backwards = backwards,
          .gates = gates.mutable_data(),
          .h = h.mutable_data(),
          .c = c ? c->mutable_data() : nullptr,
          .y = y.mutable_data(),
          .y_step_stride = stride(y, 0),
          .y_row_stride = stride(y, 1)};
}

}  // namespace

void bind_recurrent(py::module_& m) {
  m.def(
      "lstm",
      [](const Matrix& w, Floats& gates, Floats& h, Floats& c, Floats& y, bool backwards) {
        const Sequence s = sequence(gates, h, &c, y, 4, backwards);
        py::gil_scoped_release released;
        lstm(w, s);
      },
      py::arg("w"), py::arg("gates").noconvert(), py::arg("h").noconvert(), py::arg("c").noconvert(), py::arg("y").noconvert(),
      py::arg("backwards") = false);
  m.def(
      "gru",
      [](const Matrix& w, const std::optional<Floats>& bias, Floats& gates, Floats& h, Floats& y, bool backwards) {
        const Sequence s = sequence(gates, h, nullptr, y, 3, backwards);
        const float* b = vector_or_null(bias, "bias", w.rows());
        py::gil_scoped_release released;
        gru(w, b, s);
      },
      py::arg("w"), py::arg("bias").noconvert(), py::arg("gates").noconvert(), py::arg("h").noconvert(),
      py::arg("y").noconvert(), py::arg("backwards") = false);
}

}  // namespace sparse_engine::bindings
