// torch tensors without Python code and numpy arrays in between. A short product takes no longer than making those would.
//
// Only what nearly every tensor is: float32 on the CPU, strided, exactly torch.Tensor or torch.nn.Parameter, no gradient asked
// for. For anything else there is no view; whoever asked goes the long way, where each question has its answer.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <memory>
#include <optional>

#include "sparse_engine/types.hpp"

namespace sparse_engine::bindings {

namespace py = pybind11;

inline constexpr int kMostAxes = 5;
using Sides = std::array<Index, kMostAxes>;

// Axes, the innermost first; those that a tensor has not are passed over.
using Order = std::array<int, kMostAxes>;
inline constexpr Order kContiguous{4, 3, 2, 1, 0}, kChannelsLast{1, 4, 3, 2, 0};

struct TensorView {
  float* data;
  int rank;
  Sides shape, strides;  // strides in elements, those of axes of size 1 as if contiguous

  bool is_dense(const Order& order) const;  // no gaps between the elements
};

// The memory of a tensor with at most kMostAxes axes and at least one element, or none. Borrowed: `object` must live on.
std::optional<TensorView> tensor_view(py::handle object);

// Whether `object` is None, or a tensor that can be read so; `data` is null for None.
bool vector_view(py::handle object, Index size, const float*& data);            // contiguous, of `size` elements
bool view_like(py::handle object, const TensorView& like, const float*& data);  // addressed exactly as `like` is

// A new result: memory to write first, a tensor to hand out then.
class NewTensor {
 public:
  // The first `rank` of `shape`, each at least 1, without gaps.
  NewTensor(int rank, const Sides& shape, const Order& order = kContiguous);

  const TensorView& view() const { return view_; }
  py::object take();  // once

 private:
  struct Memory;
  TensorView view_;
  std::shared_ptr<float[]> data_;
};

}  // namespace sparse_engine::bindings
