#include "sparse_engine/conv.hpp"

#include <pybind11/stl.h>

#include <array>

#include "arrays.hpp"
#include "bind.hpp"
#include "tensors.hpp"

namespace sparse_engine::bindings {
namespace {

using Pair = std::array<Index, 2>;

// pads: top, left, bottom, right
Conv2dParams shape_of(const Pair& kernel, const Pair& stride, const std::array<Index, 4>& pads, const Pair& dilation,
                      Index groups) {
  return {.kernel_h = kernel[0],
          .kernel_w = kernel[1],
          .stride_h = stride[0],
          .stride_w = stride[1],
          .pad_top = pads[0],
          .pad_left = pads[1],
          .pad_bottom = pads[2],
          .pad_right = pads[3],
          .dilation_h = dilation[0],
          .dilation_w = dilation[1],
          .groups = groups};
}

// The layer on tensors, in the memory order of x, or None where one of them is not plain or x has no four axes.
py::object conv2d_tensors(py::handle x, const Matrix& w, const Conv2dParams& shape, py::handle bias,
                          Activation::Kind activation, py::handle residual) {
  const auto in = tensor_view(x);
  if (!in || in->rank != 4) return py::none();
  const OutputSize size = conv2d_output_size(shape, in->shape[2], in->shape[3]);
  const Sides sides{in->shape[0], w.rows(), size.height, size.width};
  if (w.rows() == 0 || size.height < 1 || size.width < 1) return py::none();
  NewTensor y(4, sides, !in->is_dense(kContiguous) && in->is_dense(kChannelsLast) ? kChannelsLast : kContiguous);
  Epilogue epilogue{.activation = activation};
  if (!vector_view(bias, w.rows(), epilogue.bias) || !view_like(residual, y.view(), epilogue.residual)) return py::none();
  const auto& from = in->strides;
  const auto& to = y.view().strides;
  {
    const py::gil_scoped_release released;
    conv2d({in->data, in->shape[0], in->shape[1], in->shape[2], in->shape[3], from[0], from[1], from[2], from[3]}, w, shape,
           epilogue, {y.view().data, sides[0], sides[1], sides[2], sides[3], to[0], to[1], to[2], to[3]});
  }
  return y.take();
}

}  // namespace

void bind_conv(pybind11::module_& m) {
  py::class_<Conv2dParams>(m, "Conv2dParams")
      .def(py::init(&shape_of), py::arg("kernel"), py::arg("stride"), py::arg("pads"), py::arg("dilation"), py::arg("groups"))
      .def("output_size", [](const Conv2dParams& shape, Index height, Index width) {
        const OutputSize size = conv2d_output_size(shape, height, width);
        return py::make_tuple(size.height, size.width);
      });
  m.def(
      "conv2d",
      [](const Floats& x, const Matrix& w, const Conv2dParams& shape, const std::optional<Floats>& bias,
         Activation::Kind activation, Floats& y, const std::optional<Floats>& residual) {
        check_rank(x, "x", 4);
        check_rank(y, "y", 4);
        const ConstImages in{x.data(),     x.shape(0),   x.shape(1),   x.shape(2),  x.shape(3),
                             stride(x, 0), stride(x, 1), stride(x, 2), stride(x, 3)};
        const Images out{y.mutable_data(), y.shape(0),   y.shape(1),   y.shape(2),  y.shape(3),
                         stride(y, 0),     stride(y, 1), stride(y, 2), stride(y, 3)};
        const float* b = vector_or_null(bias, "bias", w.rows());
        const float* r = like_or_null(residual, "residual", y, "y");
        py::gil_scoped_release released;
        conv2d(in, w, shape, {.bias = b, .residual = r, .activation = activation}, out);
      },
      py::arg("x").noconvert(), py::arg("w"), py::arg("shape"), py::arg("bias").noconvert(), py::arg("activation"),
      py::arg("y").noconvert(), py::arg("residual").noconvert() = py::none());
  m.def("conv2d_tensors", &conv2d_tensors, py::arg("x"), py::arg("w"), py::arg("shape"), py::arg("bias"), py::arg("activation"),
        py::arg("residual"));
}

}  // namespace sparse_engine::bindings
