#include "sparse_engine/mask.hpp"

#include "sparse_engine/fingerprint.hpp"

#include "arrays.hpp"
#include "bind.hpp"

namespace sparse_engine::bindings {
namespace {

using Bits = py::array_t<std::uint8_t, 0>;

void check_flat(const py::array& a, const char* name) {
  check_rank(a, name, 1);
  if (a.shape(0) > 1 && a.strides(0) != a.itemsize()) throw py::value_error(std::string(name) + " must be contiguous");
}

template <class Score>
std::span<const Score> scores_of(const py::array_t<Score, 0>& a) {
  check_flat(a, "scores");
  return {a.data(), static_cast<std::size_t>(a.shape(0))};
}

std::span<const std::uint8_t> bits_of(const Bits& a) {
  check_flat(a, "bits");
  return {a.data(), static_cast<std::size_t>(a.shape(0))};
}

// Once for float scores, once for double.
template <class Score>
void bind_scored(py::class_<LargestSelector>& selector) {
  using Scores = py::array_t<Score, 0>;
  selector
      .def(
          "feed",
          [](LargestSelector& self, const Scores& scores, std::uint64_t cols) {
            const auto s = scores_of(scores);
            py::gil_scoped_release released;
            self.feed(s, cols);
          },
          py::arg("scores").noconvert(), py::arg("cols") = 0)
      .def(
          "mask",
          [](LargestSelector& self, const Scores& scores, std::uint64_t cols) {
            const auto s = scores_of(scores);
            py::array_t<std::uint8_t> bits(static_cast<py::ssize_t>(mask_bytes(s.size())));
            const std::span<std::uint8_t> target(bits.mutable_data(), static_cast<std::size_t>(bits.size()));
            {
              py::gil_scoped_release released;
              self.mask(s, target, cols);
            }
            return bits;
          },
          py::arg("scores").noconvert(), py::arg("cols") = 0);
}

}  // namespace

void bind_mask(pybind11::module_& m) {
  py::class_<LargestSelector> selector(m, "LargestSelector");
  selector.def(py::init<std::uint64_t, std::uint64_t>(), py::arg("total"), py::arg("keep"))
      .def("next_pass", &LargestSelector::next_pass)
      .def_property_readonly("ties_kept", &LargestSelector::ties_kept)
      .def_property_readonly("threshold_bits", &LargestSelector::threshold_bits);
  bind_scored<float>(selector);
  bind_scored<double>(selector);
  m.def(
      "apply_mask",
      [](const Bits& bits, py::array data) {
        check_flat(data, "data");
        const auto b = bits_of(bits);
        void* target = data.mutable_data();
        const auto count = static_cast<std::uint64_t>(data.size());
        const int item_bytes = static_cast<int>(data.itemsize());
        py::gil_scoped_release released;
        return apply_mask(b, target, count, item_bytes);
      },
      py::arg("bits").noconvert(), py::arg("data").noconvert());
  m.def(
      "apply_mask_at",
      [](const Bits& bits, std::uintptr_t address, std::uint64_t count, int item_bytes) {
        const auto b = bits_of(bits);
        py::gil_scoped_release released;
        return apply_mask(b, reinterpret_cast<void*>(address), count, item_bytes);
      },
      py::arg("bits").noconvert(), py::arg("address"), py::arg("count"), py::arg("item_bytes"));
  m.def(
      "fingerprint_at",
      [](std::uintptr_t address, std::size_t bytes) {
        py::gil_scoped_release released;
        return fingerprint({reinterpret_cast<const std::byte*>(address), bytes});
      },
      py::arg("address"), py::arg("bytes"));
  m.def(
      "count_kept", [](const Bits& bits, std::uint64_t count) { return count_kept(bits_of(bits), count); },
      py::arg("bits").noconvert(), py::arg("count"));
}

}  // namespace sparse_engine::bindings
