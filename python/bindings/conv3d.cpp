#include "sparse_engine/conv.hpp"

#include <pybind11/stl.h>

#include <array>

#include "arrays.hpp"
#include "bind.hpp"
#include "tensors.hpp"

namespace sparse_engine::bindings {
namespace {

// Along depth; pads: front, back.
Conv3dParams shape_of(Index kernel, Index stride, const std::array<Index, 2>& pads, Index dilation, const Conv2dParams& plane) {
  return {.kernel_d = kernel,
          .stride_d = stride,
          .pad_front = pads[0],
          .pad_back = pads[1],
          .dilation_d = dilation,
          .plane = plane};
}

template <class View, class Data>
View view_of(Data* data, const Sides& shape, const Sides& strides) {
  return {data, shape[0], shape[1], shape[2], shape[3], shape[4], strides[0], strides[1], strides[2], strides[3], strides[4]};
}

// The layer on tensors, in the memory order of x, or None where one of them is not plain or x has no five axes.
py::object conv3d_tensors(py::handle x, const Matrix& w, const Conv3dParams& shape, py::handle bias,
                          Activation::Kind activation, py::handle residual) {
  const auto in = tensor_view(x);
  if (!in || in->rank != 5) return py::none();
  const OutputVolume size = conv3d_output_size(shape, in->shape[2], in->shape[3], in->shape[4]);
  const Sides sides{in->shape[0], w.rows(), size.depth, size.height, size.width};
  if (w.rows() == 0 || size.depth < 1 || size.height < 1 || size.width < 1) return py::none();
  NewTensor y(5, sides, !in->is_dense(kContiguous) && in->is_dense(kChannelsLast) ? kChannelsLast : kContiguous);
  Epilogue epilogue{.activation = activation};
  if (!vector_view(bias, w.rows(), epilogue.bias) || !view_like(residual, y.view(), epilogue.residual)) return py::none();
  {
    const py::gil_scoped_release released;
    conv3d(view_of<ConstVolumes>(in->data, in->shape, in->strides), w, shape, epilogue,
           view_of<Volumes>(y.view().data, sides, y.view().strides));
  }
  return y.take();
}

}  // namespace

void bind_conv3d(pybind11::module_& m) {
  py::class_<Conv3dParams>(m, "Conv3dParams")
      .def(py::init(&shape_of), py::arg("kernel"), py::arg("stride"), py::arg("pads"), py::arg("dilation"), py::arg("plane"))
      .def("output_size", [](const Conv3dParams& shape, Index depth, Index height, Index width) {
        const OutputVolume size = conv3d_output_size(shape, depth, height, width);
        return py::make_tuple(size.depth, size.height, size.width);
      });
  m.def(
      "conv3d",
      [](const Floats& x, const Matrix& w, const Conv3dParams& shape, const std::optional<Floats>& bias,
         Activation::Kind activation, Floats& y, const std::optional<Floats>& residual) {
        const ConstVolumes in = const_volumes(x, "x");
        const Volumes out = volumes(y, "y");
        const float* b = vector_or_null(bias, "bias", w.rows());
        const float* r = like_or_null(residual, "residual", y, "y");
        py::gil_scoped_release released;
        conv3d(in, w, shape, {.bias = b, .residual = r, .activation = activation}, out);
      },
      py::arg("x").noconvert(), py::arg("w"), py::arg("shape"), py::arg("bias").noconvert(), py::arg("activation"),
      py::arg("y").noconvert(), py::arg("residual").noconvert() = py::none());
  m.def("conv3d_tensors", &conv3d_tensors, py::arg("x"), py::arg("w"), py::arg("shape"), py::arg("bias"), py::arg("activation"),
        py::arg("residual"));
}

}  // namespace sparse_engine::bindings
