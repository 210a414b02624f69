#include "sparse_engine/groups.hpp"

#include <pybind11/stl.h>

#include "arrays.hpp"
#include "bind.hpp"
#include "sparse_engine/mask.hpp"
#include "sparse_engine/neighbours.hpp"

namespace sparse_engine::bindings {
namespace {

using Bits = py::array_t<std::uint8_t, 0>;
using Sizes = py::array_t<std::uint64_t, 0>;
using Pair = std::pair<Index, Index>;

template <class Array>
auto flat(const Array& a, const char* name) {
  check_rank(a, name, 1);
  if (a.shape(0) > 1 && a.strides(0) != a.itemsize()) throw py::value_error(std::string(name) + " must be contiguous");
  return std::span(a.data(), static_cast<std::size_t>(a.shape(0)));
}

template <class T>
py::array_t<T> fresh(std::uint64_t count) {
  return py::array_t<T>(static_cast<py::ssize_t>(count));
}

template <class T>
std::span<T> all(py::array_t<T>& a) {
  return {a.mutable_data(), static_cast<std::size_t>(a.size())};
}

Groups groups_of(Pair shape, Pair block) { return {shape.first, shape.second, block.first, block.second}; }

// Once for float scores, once for double.
template <class Score>
void bind_scored(py::module_& m) {
  using Scores = py::array_t<Score, 0>;
  m.def(
      "score_groups",
      [](const Scores& scores, Pair shape, Pair block, Norm norm) {
        const Groups g = groups_of(shape, block);
        const auto s = flat(scores, "scores");
        auto result = fresh<Score>(static_cast<std::uint64_t>(group_count(g)));
        const auto target = all(result);
        {
          py::gil_scoped_release released;
          score_groups(s, g, norm, target);
        }
        return result;
      },
      py::arg("scores").noconvert(), py::arg("shape"), py::arg("block"), py::arg("norm"));
  m.def(
      "keep_largest_groups",
      [](const Scores& group_scores, const Sizes& sizes, const std::vector<std::pair<std::uint64_t, std::uint64_t>>& grids,
         std::uint64_t keep) {
        const auto s = flat(group_scores, "group_scores");
        const auto weights = flat(sizes, "sizes");
        std::vector<Grid> ranked;
        for (const auto& [lines, across] : grids) ranked.push_back({.lines = lines, .across = across});
        auto bits = fresh<std::uint8_t>(mask_bytes(s.size()));
        const auto target = all(bits);
        std::uint64_t kept = 0;
        {
          py::gil_scoped_release released;
          kept = keep_largest_groups(s, weights, ranked, keep, target);
        }
        return std::pair(bits, kept);
      },
      py::arg("group_scores").noconvert(), py::arg("sizes").noconvert(), py::arg("grids"), py::arg("keep"));
  m.def(
      "keep_n_of_m",
      [](const Scores& scores, Pair shape, int n, int per) {
        const auto s = flat(scores, "scores");
        auto bits = fresh<std::uint8_t>(mask_bytes(s.size()));
        const auto target = all(bits);
        {
          py::gil_scoped_release released;
          keep_n_of_m(s, shape.first, shape.second, n, per, target);
        }
        return bits;
      },
      py::arg("scores").noconvert(), py::arg("shape"), py::arg("n"), py::arg("m"));
  m.def(
      "frequent_patterns",
      [](const Scores& scores, int positions, int n, Index count) {
        const auto s = flat(scores, "scores");
        py::gil_scoped_release released;
        return frequent_patterns(s, positions, n, count);
      },
      py::arg("scores").noconvert(), py::arg("positions"), py::arg("n"), py::arg("count"));
  m.def(
      "keep_patterns",
      [](const Scores& scores, int positions, const std::vector<std::uint64_t>& dictionary, Norm norm) {
        const auto s = flat(scores, "scores");
        auto bits = fresh<std::uint8_t>(mask_bytes(s.size()));
        const auto target = all(bits);
        {
          py::gil_scoped_release released;
          keep_patterns(s, positions, dictionary, norm, target);
        }
        return bits;
      },
      py::arg("scores").noconvert(), py::arg("positions"), py::arg("dictionary"), py::arg("norm"));
}

}  // namespace

void bind_groups(py::module_& m) {
  py::enum_<Norm>(m, "Norm").value("l1", Norm::l1).value("l2", Norm::l2);
  m.def(
      "group_sizes",
      [](Pair shape, Pair block) {
        const Groups g = groups_of(shape, block);
        auto sizes = fresh<std::uint64_t>(static_cast<std::uint64_t>(group_count(g)));
        group_sizes(g, all(sizes));
        return sizes;
      },
      py::arg("shape"), py::arg("block"));
  m.def(
      "spread_groups",
      [](const Bits& group_bits, Pair shape, Pair block) {
        const Groups g = groups_of(shape, block);
        group_count(g);  // checks the sides before they are multiplied
        const auto b = flat(group_bits, "group_bits");
        auto bits = fresh<std::uint8_t>(mask_bytes(static_cast<std::uint64_t>(g.rows) * static_cast<std::uint64_t>(g.cols)));
        const auto target = all(bits);
        {
          py::gil_scoped_release released;
          spread_groups(b, g, target);
        }
        return bits;
      },
      py::arg("group_bits").noconvert(), py::arg("shape"), py::arg("block"));
  bind_scored<float>(m);
  bind_scored<double>(m);
}

}  // namespace sparse_engine::bindings
