#include "tensors.hpp"

#include <cstdint>
#include <utility>

#include "dlpack.hpp"
#include "sparse_engine/buffer_pool.hpp"

namespace sparse_engine::bindings {
namespace {

// What is needed of torch, looked up once it is imported. Never imports it.
struct Torch {
  const dlpack::Exchange* exchange;  // null: this version has none
  py::object tensor, parameter;      // the classes
  py::object is_grad_enabled;
  py::str requires_grad{"requires_grad"}, is_neg{"is_neg"};
};

const dlpack::Exchange* exchange_of(py::handle type) {
  const py::object capsule = py::getattr(type, "__dlpack_c_exchange_api__", py::none());
  if (!PyCapsule_IsValid(capsule.ptr(), dlpack::kExchangeName)) return nullptr;
  const auto* found = static_cast<dlpack::Exchange*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kExchangeName));
  while (found != nullptr && found->version.major != dlpack::kMajor) found = found->older;
  return found != nullptr && found->look_at != nullptr && found->make != nullptr ? found : nullptr;
}

// Null while there is nothing to look at tensors with. The caller holds the interpreter's lock.
const Torch* torch() {
  static const Torch* found = nullptr;  // never destroyed: its objects must not outlive the interpreter
  if (found == nullptr) {
    PyObject* const imported = PyDict_GetItemString(PyImport_GetModuleDict(), "torch");  // borrowed
    if (imported == nullptr) return nullptr;
    const auto module = py::reinterpret_borrow<py::object>(imported);
    // Missing while torch is being imported.
    if (!py::hasattr(module, "nn") || !py::hasattr(module.attr("nn"), "Parameter") || !py::hasattr(module, "is_grad_enabled"))
      return nullptr;
    const py::object tensor = module.attr("Tensor");
    found = new Torch{exchange_of(tensor), tensor, module.attr("nn").attr("Parameter"), module.attr("is_grad_enabled")};
  }
  return found->exchange == nullptr ? nullptr : found;
}

bool is_true(PyObject* result) {
  if (result == nullptr) throw py::error_already_set();
  const bool yes = result == Py_True;
  Py_DECREF(result);
  return yes;
}

bool needs_gradient(const Torch& t, py::handle object) {
  return is_true(PyObject_GetAttr(object.ptr(), t.requires_grad.ptr())) &&
         is_true(PyObject_CallNoArgs(t.is_grad_enabled.ptr()));
}

}  // namespace

bool TensorView::is_dense(const Order& order) const {
  Index next = 1;
  for (const int axis : order) {
    if (axis >= rank) continue;
    if (shape[axis] != 1 && strides[axis] != next) return false;
    next *= shape[axis];
  }
  return true;
}

std::optional<TensorView> tensor_view(py::handle object) {
  const Torch* const t = torch();
  if (t == nullptr) return std::nullopt;
  const auto* type = reinterpret_cast<PyObject*>(Py_TYPE(object.ptr()));
  if (type != t->tensor.ptr() && type != t->parameter.ptr()) return std::nullopt;
  if (needs_gradient(*t, object)) return std::nullopt;
  dlpack::Tensor borrowed;
  if (t->exchange->look_at(object.ptr(), &borrowed) != 0) {  // sparse, on no device, inside a transform
    PyErr_Clear();
    return std::nullopt;
  }
  const dlpack::Type kind = borrowed.type;
  if (borrowed.device.type != dlpack::kCpu || kind.code != dlpack::kFloat || kind.bits != 32 || kind.lanes != 1)
    return std::nullopt;
  if (borrowed.rank < 1 || borrowed.rank > kMostAxes || borrowed.data == nullptr) return std::nullopt;
  TensorView view{};
  view.data = reinterpret_cast<float*>(static_cast<char*>(borrowed.data) + borrowed.byte_offset);
  view.rank = borrowed.rank;
  Index contiguous = 1;
  for (int axis = view.rank - 1; axis >= 0; --axis) {
    const Index side = view.shape[axis] = borrowed.shape[axis];
    if (side < 1) return std::nullopt;
    const bool natural = borrowed.strides == nullptr || side == 1;
    view.strides[axis] = natural ? contiguous : borrowed.strides[axis];
    contiguous = view.strides[axis] * side;
  }
  if (reinterpret_cast<std::uintptr_t>(view.data) % alignof(float) != 0) return std::nullopt;
  if (is_true(PyObject_CallMethodNoArgs(object.ptr(), t->is_neg.ptr()))) return std::nullopt;  // stands for its negative
  return view;
}

bool vector_view(py::handle object, Index size, const float*& data) {
  data = nullptr;
  if (object.is_none()) return true;
  const auto view = tensor_view(object);
  if (!view || view->rank != 1 || view->shape[0] != size || view->strides[0] != 1) return false;
  data = view->data;
  return true;
}

bool view_like(py::handle object, const TensorView& like, const float*& data) {
  data = nullptr;
  if (object.is_none()) return true;
  const auto view = tensor_view(object);
  if (!view || view->rank != like.rank) return false;
  for (int axis = 0; axis < like.rank; ++axis) {
    const Index side = like.shape[axis];
    if (view->shape[axis] != side || (side != 1 && view->strides[axis] != like.strides[axis])) return false;
  }
  data = view->data;
  return true;
}

// What a tensor made here keeps until it dies.
struct NewTensor::Memory {
  std::shared_ptr<float[]> data;
  Sides shape, strides;
  dlpack::OwnedTensor described;
};

NewTensor::NewTensor(int rank, const Sides& shape, const Order& order) : view_{nullptr, rank, shape, {}} {
  Index floats = 1;
  for (const int axis : order) {
    if (axis >= rank) continue;
    view_.strides[axis] = floats;
    if (__builtin_mul_overflow(floats, shape[axis], &floats)) throw py::value_error("the result's shape does not fit 63 bits");
  }
  data_ = result_buffer(floats);
  view_.data = data_.get();
}

py::object NewTensor::take() {
  auto memory = std::make_unique<Memory>();
  memory->data = std::move(data_);
  memory->shape = view_.shape;
  memory->strides = view_.strides;
  dlpack::OwnedTensor& described = memory->described;
  described.version = {dlpack::kMajor, dlpack::kMinor};
  described.flags = 0;
  described.tensor = {.data = view_.data,
                      .device = {dlpack::kCpu, 0},
                      .rank = view_.rank,
                      .type = {dlpack::kFloat, 32, 1},
                      .shape = memory->shape.data(),
                      .strides = memory->strides.data(),
                      .byte_offset = 0};
  described.release = [](dlpack::OwnedTensor* done) { delete static_cast<Memory*>(done->owner); };
  described.owner = memory.release();
  void* made = nullptr;
  if (torch()->exchange->make(&described, &made) != 0) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(static_cast<PyObject*>(made));
}

}  // namespace sparse_engine::bindings
