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
  // A run is a row of one channel, or, where channels lie side by side, the channels of a group at the cells of a row.
  const bool by_channels = x.stride_c == 1 && y.stride_c == 1 && group_channels > 1;
  const Index run_channels = by_channels ? group_channels : 1;
  const Index runs = rows / run_channels, of_batch = y.channels / run_channels;
  const Index grouped = std::max<Index>(1, kTaskFloats / (y.width * run_channels));
  parallel::parallel_for(blocks_of(runs, grouped), threads_for(floats), [&](Index task, int) {
    const Index end = std::min(runs, (task + 1) * grouped);
    for (Index run = task * grouped; run < end;) {  // as much of a plane as there is
      const Index first = run % y.height, d = run / y.height % y.depth, outer = run / y.height / y.depth;
      const Index n = outer / of_batch, c = outer % of_batch * run_channels;
      const Index row_phases = (c / group_channels * s.stride_d + d % s.stride_d) * s.stride_h;
      const float* from = x.data + n * x.stride_n + row_phases * s.stride_w * phase + c % group_channels * x.stride_c +
                          d / s.stride_d * x.stride_d;
      float* to = y.data + n * y.stride_n + c * y.stride_c + d * y.stride_d;
      const Index last = std::min(y.height, first + end - run);
      for (Index h = first; h < last; ++h) {
        const float* source = from + h % s.stride_h * s.stride_w * phase + h / s.stride_h * x.stride_h;
        float* target = to + h * y.stride_h;
        if (!by_channels) {
          weave_row(source, phase, x.stride_w, s.stride_w, target, y.stride_w, y.width);
        } else {
          for (Index w = 0; w < y.width; ++w)
            std::copy_n(source + w % s.stride_w * phase + w / s.stride_w * x.stride_w, group_channels, target + w * y.stride_w);
        }
      }
      run += last - first;
    }
  });
}

}  // namespace sparse_engine
