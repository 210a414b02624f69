// numpy arrays as the library's views. dtype, rank and alignment are refused here; shapes are checked by the library.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <span>
#include <string>

#include "sparse_engine/types.hpp"

namespace sparse_engine::bindings {

namespace py = pybind11;

using Floats = py::array_t<float, 0>;
using Indices = py::array_t<std::int64_t, 0>;

inline void check_rank(const py::array& a, const char* name, py::ssize_t rank) {
  if (a.ndim() != rank)
    throw py::value_error(std::string(name) + " has " + std::to_string(a.ndim()) + " dimensions; it needs " +
                          std::to_string(rank));
  if (!(a.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_))
    throw py::value_error(std::string(name) + " is not aligned to its elements; pass " + name + ".copy()");
}

inline Index stride(const Floats& a, int axis) { return a.strides(axis) / static_cast<py::ssize_t>(sizeof(float)); }

inline ConstPanel const_panel(const Floats& a, const char* name) {
  check_rank(a, name, 2);
  return {a.data(), a.shape(0), a.shape(1), stride(a, 0), stride(a, 1)};
}

inline ConstPanel contiguous_panel(const Floats& a, const char* name) {
  const ConstPanel p = const_panel(a, name);
  const bool strides_matter = p.rows > 0 && p.columns > 0;
  if (strides_matter && ((p.columns > 1 && p.column_stride != 1) || (p.rows > 1 && p.row_stride != p.columns)))
    throw py::value_error(std::string(name) + " must be C-contiguous");
  return p;
}

template <class T>
std::span<const T> contiguous(const py::array_t<T, 0>& a, const char* name) {
  check_rank(a, name, 1);
  if (a.shape(0) > 1 && a.strides(0) != static_cast<py::ssize_t>(sizeof(T)))
    throw py::value_error(std::string(name) + " must be contiguous");
  return {a.data(), static_cast<std::size_t>(a.shape(0))};
}

inline Panel panel(Floats& a, const char* name) {
  check_rank(a, name, 2);
  return {a.mutable_data(), a.shape(0), a.shape(1), stride(a, 0), stride(a, 1)};
}

inline ConstVolumes const_volumes(const Floats& a, const char* name) {
  check_rank(a, name, 5);
  return {a.data(),     a.shape(0),   a.shape(1),   a.shape(2),   a.shape(3),  a.shape(4),
          stride(a, 0), stride(a, 1), stride(a, 2), stride(a, 3), stride(a, 4)};
}

inline Volumes volumes(Floats& a, const char* name) {
  check_rank(a, name, 5);
  return {a.mutable_data(), a.shape(0),   a.shape(1),   a.shape(2),   a.shape(3),  a.shape(4),
          stride(a, 0),     stride(a, 1), stride(a, 2), stride(a, 3), stride(a, 4)};
}

inline const float* vector_or_null(const std::optional<Floats>& a, const char* name, Index size) {
  if (!a) return nullptr;
  check_rank(*a, name, 1);
  if (a->shape(0) != size || (size > 1 && stride(*a, 0) != 1))
    throw py::value_error(std::string(name) + " must be a contiguous array of " + std::to_string(size) + " elements, not " +
                          std::to_string(a->shape(0)));
  return a->data();
}

// Memory that is addressed exactly as `like` is.
inline const float* like_or_null(const std::optional<Floats>& a, const char* name, const Floats& like, const char* like_name) {
  if (!a) return nullptr;
  check_rank(*a, name, like.ndim());
  for (int axis = 0; axis < like.ndim(); ++axis)
    if (a->shape(axis) != like.shape(axis) ||
        (like.size() > 0 && like.shape(axis) > 1 && a->strides(axis) != like.strides(axis)))
      throw py::value_error(std::string(name) + " must have the shape and the strides of " + like_name);
  return a->data();
}

}  // namespace sparse_engine::bindings
