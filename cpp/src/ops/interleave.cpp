#include "sparse_engine/interleave.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/parallel.hpp"
#include "base/tuning.hpp"
#include "base/workspace.hpp"

namespace sparse_engine {
namespace {

constexpr Index kTaskFloats = Tuning::session.elementwise_floats;

Index blocks_of(Index length, Index stride) { return (length + stride - 1) / stride; }

void check_arguments(const ConstVolumes& x, const Interleaving& s, const Volumes& y) {
  check(s.groups >= 1 && s.stride_d >= 1 && s.stride_h >= 1 && s.stride_w >= 1, "groups = ", s.groups, ", strides = (",
        s.stride_d, ", ", s.stride_h, ", ", s.stride_w, "); each must be at least 1");
  check(y.batch >= 0 && y.channels >= 0 && y.depth >= 0 && y.height >= 0 && y.width >= 0, "y has a negative size");
  check(y.channels % s.groups == 0, "groups = ", s.groups, " does not divide the ", y.channels, " channels of y");
  const Index phases = checked_mul(checked_mul(s.stride_d, s.stride_h, "phases"), s.stride_w, "phases");
  const Index depth = blocks_of(y.depth, s.stride_d), height = blocks_of(y.height, s.stride_h),
              width = blocks_of(y.width, s.stride_w), channels = checked_mul(y.channels, phases, "channels");
  check(x.batch == y.batch && x.channels == channels && x.depth == depth && x.height == height && x.width == width,
        "x has shape (", x.batch, ", ", x.channels, ", ", x.depth, ", ", x.height, ", ", x.width, "); y needs (", y.batch, ", ",
        channels, ", ", depth, ", ", height, ", ", width, ")");
}

// A row of y from the rows of its phases, which lie `apart` in x. The stride is a constant where networks have it: then the
// compiler shuffles vectors.
template <Index stride>
void weave(const float* x, Index apart, float* y, Index width) {
  const Index whole = width / stride;
  for (Index i = 0; i < whole; ++i)
    for (Index r = 0; r < stride; ++r) y[i * stride + r] = x[r * apart + i];
  for (Index r = 0; r < width % stride; ++r) y[whole * stride + r] = x[r * apart + whole];
}

void weave_row(const float* x, Index apart, Index x_step, Index stride, float* y, Index y_step, Index width) {
  if (x_step == 1 && y_step == 1) {
    if (stride == 1) return void(std::copy_n(x, width, y));
    if (stride == 2) return weave<2>(x, apart, y, width);
    if (stride == 4) return weave<4>(x, apart, y, width);
  }
  for (Index r = 0; r < stride; ++r) {
    const float* from = x + r * apart;
    float* to = y + r * y_step;
    for (Index i = 0; i < blocks_of(width - r, stride); ++i) to[i * stride * y_step] = from[i * x_step];
  }
}

}  // namespace

void interleave(const ConstVolumes& x, const Interleaving& s, const Volumes& y) {
  check_arguments(x, s, y);
  const Index rows = checked_mul(checked_mul(checked_mul(y.batch, y.channels, "rows"), y.depth, "rows"), y.height, "rows");
  const Index floats = checked_mul(rows, y.width, "floats");
  if (floats == 0) return;
  const Index group_channels = y.channels / s.groups;
  const Index phase = group_channels * x.stride_c;  // from one to the next
  const auto source = [&](Index n, Index c, Index d, Index h) {
    const Index of = (c / group_channels * s.stride_d + d % s.stride_d) * s.stride_h + h % s.stride_h;
    return x.data + n * x.stride_n + of * s.stride_w * phase + c % group_channels * x.stride_c + d / s.stride_d * x.stride_d +
           h / s.stride_h * x.stride_h;
  };
  const auto target = [&](Index n, Index c, Index d, Index h) {
    return y.data + n * y.stride_n + c * y.stride_c + d * y.stride_d + h * y.stride_h;
  };
  // A run is a row of one channel, or, where channels lie side by side, the channels of a group at the cells of a row.
  const bool by_channels = x.stride_c == 1 && y.stride_c == 1 && group_channels > 1;
  const Index units = by_channels ? rows / group_channels : rows, unit_floats = floats / units;
  const Index grouped = std::max<Index>(1, kTaskFloats / unit_floats);
  parallel::parallel_for(blocks_of(units, grouped), threads_for(floats), [&](Index task, int) {
    for (Index unit = task * grouped; unit < std::min(units, (task + 1) * grouped); ++unit) {
      const Index h = unit % y.height, d = unit / y.height % y.depth, outer = unit / y.height / y.depth;
      if (!by_channels) {
        const Index n = outer / y.channels, c = outer % y.channels;
        weave_row(source(n, c, d, h), phase, x.stride_w, s.stride_w, target(n, c, d, h), y.stride_w, y.width);
        continue;
      }
      const Index n = outer / s.groups, c = outer % s.groups * group_channels;
      const float* from = source(n, c, d, h);
      float* to = target(n, c, d, h);
      for (Index w = 0; w < y.width; ++w)
        std::copy_n(from + w % s.stride_w * phase + w / s.stride_w * x.stride_w, group_channels, to + w * y.stride_w);
    }
  });
}

}  // namespace sparse_engine
