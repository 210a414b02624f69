#include "program/shapes/axes.hpp"

#include "base/check.hpp"

namespace sparse_engine {

Index fixed(const NodeInfo& node, const Size& size, const char* axis) {
  check(size.per_item == 0, "the ", axis, " of what ", name_of(node.operation), " ", node.name,
        " reads depends on the batch; it must not");
  return size.fixed;
}

Plane plane_of(const NodeInfo& node, const std::vector<Size>& x) {
  check(x.size() == 3 || x.size() == 4, name_of(node.operation), " ", node.name, " reads a value of ", x.size(),
        " axes; it needs 4, or 3");
  return {x.size() == 4 ? fixed(node, x[2], "height") : 1, fixed(node, x.back(), "width")};
}

std::vector<Size> with_plane(const NodeInfo& node, const std::vector<Size>& x, Index channels, const Plane& plane) {
  if (x.size() == 4) return {x[0], {channels, 0}, {plane.height, 0}, {plane.width, 0}};
  check(plane.height == 1, name_of(node.operation), " ", node.name, " makes height ", plane.height,
        " of a value of 3 axes; it must be 1");
  return {x[0], {channels, 0}, {plane.width, 0}};
}

}  // namespace sparse_engine
