#include "session/steps.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.hpp"
#include "base/tuning.hpp"
#include "formats/matrix_impl.hpp"
#include "ops/attention.hpp"
#include "ops/conv/plan.hpp"
#include "ops/copy.hpp"
#include "ops/elementwise.hpp"
#include "ops/gather.hpp"
#include "ops/linear.hpp"
#include "ops/matmul.hpp"
#include "ops/pad.hpp"
#include "ops/pool.hpp"
#include "ops/recurrent_sequence.hpp"
#include "ops/resize.hpp"
#include "ops/rows.hpp"
#include "ops/write_rows.hpp"
#include "program/shapes.hpp"

namespace sparse_engine {
namespace {

// (N, C, H, W), or (N, C, W) of height 1. Planes are contiguous.
ConstImages images(const std::vector<Index>& shape, const std::vector<Index>& strides) {
  const Index height = shape.size() == 4 ? shape[2] : 1, width = shape.back();
  return {nullptr, shape[0], shape[1], height, width, strides[0], strides[1], width, 1};
}

Images writable(const ConstImages& x) {
  return {nullptr, x.batch, x.channels, x.height, x.width, x.stride_n, x.stride_c, x.stride_h, x.stride_w};
}

const char* name_of(Strategy strategy) {
  switch (strategy) {
    case Strategy::gemv: return "gemv";
    case Strategy::panels: return "panels";
    case Strategy::in_place: return "panels in place";
    case Strategy::planes: return "planes";
    case Strategy::banded: return "bands of planes";
    case Strategy::depthwise: return "depthwise planes";
    case Strategy::expanded: return "expanded depthwise planes";
    case Strategy::elementwise: return "elementwise";
    case Strategy::pool: return "pool";
    case Strategy::resize: return "resize";
    case Strategy::rows: return "rows";
    case Strategy::copy: return "copy";
    case Strategy::pad: return "pad";
    case Strategy::gather: return "gather";
    case Strategy::write_rows: return "write rows";
    case Strategy::matmul: return "matmul";
    case Strategy::attention: return "attention";
    case Strategy::recurrent: return "recurrence";
  }
  return "";
}

class Planner {
 public:
  Planner(const Kernels& table, Weights& weights, const NodeInfo& node, const std::vector<View>& views, Index batch,
          int threads, const NodeInfo* expansion)
      : table_(table),
        weights_(weights),
        program_(weights.program()),
        node_(node),
        views_(views),
        batch_(batch),
        threads_(threads),
        expansion_(expansion) {}

  PlannedNode plan() {
    switch (node_.operation) {
      case Operation::conv2d: conv(); break;
      case Operation::conv3d: conv3d(); break;
      case Operation::linear: linear(); break;
      case Operation::max_pool:
      case Operation::average_pool: pool(); break;
      case Operation::adaptive_max_pool:
      case Operation::adaptive_average_pool: adaptive_pool(); break;
      case Operation::resize: resize(); break;
      case Operation::mean:
      case Operation::sum: mean(); break;
      case Operation::add: binary(BinaryOp::add); break;
      case Operation::subtract: binary(BinaryOp::subtract); break;
      case Operation::multiply: binary(BinaryOp::multiply); break;
      case Operation::divide: binary(BinaryOp::divide); break;
      case Operation::maximum: binary(BinaryOp::maximum); break;
      case Operation::minimum: binary(BinaryOp::minimum); break;
      case Operation::less: binary(BinaryOp::less); break;
      case Operation::less_equal: binary(BinaryOp::less_equal); break;
      case Operation::equal: binary(BinaryOp::equal); break;
      case Operation::keep: binary(BinaryOp::keep); break;
      case Operation::activation: binary(BinaryOp::first); break;
      case Operation::concat: concat(); break;
      case Operation::reshape: break;
      case Operation::expand: expand(); break;
      case Operation::prefix: prefix(); break;
      case Operation::permute: permute(); break;
      case Operation::slice: slice(); break;
      case Operation::pad: pad(); break;
      case Operation::softmax: softmax(); break;
      case Operation::layer_norm: norm(plan_layer_norm); break;
      case Operation::rms_norm: norm(plan_rms_norm); break;
      case Operation::gather: gather(); break;
      case Operation::write_rows: write_rows(); break;
      case Operation::matmul: matmul(); break;
      case Operation::attention: attention(); break;
      case Operation::lstm: recurrence(Cell::lstm); break;
      case Operation::gru: recurrence(Cell::gru); break;
    }
    const auto planned = std::find_if(planned_.plans.begin(), planned_.plans.end(), [](const auto& plan) { return plan; });
    if (planned != planned_.plans.end()) {
      planned_.kernel = name_of((*planned)->strategy());
      if (planned_.weight) planned_.kernel += std::string(", ") + sparse_engine::name_of(format_);
    }
    return std::move(planned_);
  }

 private:
  std::vector<Index> shape(Index value) const { return program_.shape(value, batch_); }
  const View& view(Index value) const { return views_[static_cast<std::size_t>(value)]; }
  std::vector<Index> strides(Index value) const { return strides_of(view(value), shape(value)); }
  ConstImages images_of(Index value) const { return images(shape(value), strides(value)); }

  int threads_for(Index work) const { return work < Tuning::session.serial_below ? 1 : threads_; }

  void take_weight(Index columns, Index groups) {
    const WeightInfo& w = program_.weights()[static_cast<std::size_t>(node_.weight)];
    format_ = choose_format(weights_.density(node_.weight), columns, w.rows / groups);
    planned_.weight = weights_.get(node_.weight, format_);
    planned_.multiply_adds = checked_mul(static_cast<Index>(w.values.size()), columns, "work");
  }

  void product(const ConstPanel& x, const Panel& y) {
    take_weight(x.columns, 1);
    // A weight of few columns costs as much as some of many: it is read for them alone.
    const Index worth = std::max<Index>(x.columns, x.columns <= kSkinnyColumns ? Tuning::threads.few_columns_worth : x.columns);
    const int threads = threads_for(checked_mul(planned_.weight->nnz() + planned_.weight->rows(), worth, "work"));
    planned_.plans = {plan_multiply(table_, *planned_.weight, x, y, threads)};
  }

  void linear() {
    const std::vector<Index> from = shape(node_.inputs[0]), to = shape(node_.output);
    Index rows = 1;
    for (std::size_t i = 0; i + 1 < from.size(); ++i) rows = checked_mul(rows, from[i], "rows");
    const auto apart = [&](Index value, const std::vector<Index>& sizes) {
      return view(value).contiguous() ? sizes.back() : row_stride(sizes, view(value).strides);
    };
    product({nullptr, from.back(), rows, 1, apart(node_.inputs[0], from)},
            {nullptr, to.back(), rows, 1, apart(node_.output, to)});
  }

  // Together with the pointwise convolution whose result it reads.
  void expanded_conv() {
    const ConstImages x = images_of(expansion_->inputs[0]);
    const Images y = writable(images_of(node_.output));
    const WeightInfo& info = program_.weights()[static_cast<std::size_t>(expansion_->weight)];
    const Index columns = checked_mul(x.batch, x.height * x.width, "columns");
    planned_.expansion =
        weights_.get(expansion_->weight, choose_format(weights_.density(expansion_->weight), columns, info.rows));
    take_weight(checked_mul(x.batch, y.height * y.width, "columns"), y.channels);
    const Index expanding = checked_mul(static_cast<Index>(info.values.size()), columns, "work");
    planned_.multiply_adds = checked_add(planned_.multiply_adds, expanding, "work");
    const float* const bias =
        expansion_->bias == -1 ? nullptr : program_.constants()[static_cast<std::size_t>(expansion_->bias)].data();
    const Expansion expansion{*planned_.expansion, {.bias = bias, .activation = expansion_->activation}};
    planned_.plans = {plan_expanded(table_, expansion, *planned_.weight, x, conv_params(node_), y,
                                    threads_for(checked_add(planned_.multiply_adds, x.batch * y.channels * y.height, "work")))};
  }

  void conv() {
    if (expansion_) return expanded_conv();
    const ConstImages x = images_of(node_.inputs[0]);
    const Images y = writable(images_of(node_.output));
    const Conv2dParams s = conv_params(node_);
    const bool one_pixel = x.height == 1 && x.width == 1 && y.height == 1 && y.width == 1 && s.groups == 1 && s.kernel_h == 1 &&
                           s.kernel_w == 1 && s.pad_top == 0 && s.pad_left == 0;
    if (one_pixel)
      return product({nullptr, x.channels, x.batch, x.stride_c, x.stride_n},
                     {nullptr, y.channels, y.batch, y.stride_c, y.stride_n});
    take_weight(checked_mul(x.batch, y.height * y.width, "columns"), s.groups);
    planned_.plans = {plan_conv2d(table_, *planned_.weight, x, s, y, node_.residual != -1,
                                  threads_for(checked_add(planned_.multiply_adds, x.batch * y.channels * y.height, "work")))};
  }

  // Contiguous but for where its channels lie.
  ConstVolumes volumes_of(Index value) const {
    const std::vector<Index> sizes = shape(value), apart = strides(value);
    return {nullptr, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], apart[0], apart[1], sizes[3] * sizes[4], sizes[4], 1};
  }

  void conv3d() {
    const ConstVolumes x = volumes_of(node_.inputs[0]), to = volumes_of(node_.output);
    const Volumes y{nullptr,     to.batch,    to.channels, to.depth,    to.height,  to.width,
                    to.stride_n, to.stride_c, to.stride_d, to.stride_h, to.stride_w};
    const Conv3dParams s = conv3d_params(node_);
    take_weight(checked_mul(x.batch, y.depth * y.height * y.width, "columns"), s.plane.groups);
    const Index rows = x.batch * y.channels * y.depth * y.height;
    planned_.plans = {plan_conv3d(table_, *planned_.weight, x, s, y, node_.residual != -1,
                                  threads_for(checked_add(planned_.multiply_adds, rows, "work")))};
  }

  void pool() {
    const ConstImages x = images_of(node_.inputs[0]);
    const Images y = writable(images_of(node_.output));
    const std::vector<Index>& n = node_.numbers;
    const bool maximum = node_.operation == Operation::max_pool;
    const PoolShape s{maximum, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], !maximum && n[8] != 0};
    planned_.plans = {plan_pool(table_, x, s, y, threads_for(x.batch * x.channels * x.height * x.width))};
  }

  void adaptive_pool() {
    const ConstImages x = images_of(node_.inputs[0]);
    const Images y = writable(images_of(node_.output));
    planned_.plans = {plan_adaptive_pool(table_, node_.operation == Operation::adaptive_max_pool, x, y,
                                         threads_for(x.batch * x.channels * x.height * x.width))};
  }

  void resize() {
    const ConstImages x = images_of(node_.inputs[0]);
    const Images y = writable(images_of(node_.output));
    planned_.plans = {plan_resize(table_, x, y, threads_for(checked_mul(x.batch * x.channels, y.height * y.width, "work")))};
  }

  // The rows of x, which its last `axes` axes make up, and their length.
  std::pair<Index, Index> rows_of(Index axes) const {
    const std::vector<Index> from = shape(node_.inputs[0]);
    Index rows = 1, columns = 1;
    for (std::size_t i = 0; i < from.size(); ++i)
      (i + static_cast<std::size_t>(axes) < from.size() ? rows : columns) *= from[i];
    return {rows, columns};
  }

  void mean() {
    const auto [rows, columns] = rows_of(node_.numbers[0]);
    const auto plan = node_.operation == Operation::mean ? plan_mean : plan_sum;
    planned_.plans = {plan(table_, rows, columns, threads_for(rows * columns / 4))};
  }

  void binary(BinaryOp op) {
    const std::vector<Index> from = shape(node_.inputs[0]);
    BroadcastShape s{1, 1, 1};
    if (op == BinaryOp::first) {
      s.middle = program_.elements(node_.inputs[0], batch_);
    } else {
      const auto& values = program_.values();
      const auto axes = broadcast_axes(values[static_cast<std::size_t>(node_.inputs[0])].shape,
                                       values[static_cast<std::size_t>(node_.inputs[1])].shape);
      for (std::size_t i = 0; i < from.size(); ++i)
        (i < axes->outer ? s.outer : i < from.size() - axes->inner ? s.middle : s.inner) *= from[i];
    }
    planned_.plans = {plan_binary(table_, op, s, threads_for(s.outer * s.middle * s.inner))};
  }

  void concat() {
    for (std::size_t i = 0; i < node_.inputs.size(); ++i) {
      const Index input = node_.inputs[i];
      const std::vector<Index> sizes = shape(input);
      const View part = part_of(program_, node_, i, view(node_.output), batch_);
      planned_.plans.push_back(
          same_place(view(input), part, sizes) ? nullptr : copy_of(sizes, strides(input), 0, strides_of(part, sizes)));
    }
  }

  std::shared_ptr<const Plan> copy_of(const std::vector<Index>& sizes, const std::vector<Index>& x_strides, Index first,
                                      const std::vector<Index>& y_strides) const {
    std::vector<CopyAxis> axes;
    axes.reserve(sizes.size());
    Index count = 1;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      axes.push_back({sizes[i], x_strides[i], y_strides[i]});
      count *= sizes[i];
    }
    return plan_copy(axes, first, threads_for(count / 2));
  }

  // Every element of the result, read at `first` and along its axes at these strides of x.
  void copy(const std::vector<Index>& x_strides, Index first) {
    if (!view(node_.output).of_input) planned_.plans = {copy_of(shape(node_.output), x_strides, first, strides(node_.output))};
  }

  void expand() {
    const std::vector<Index> from = shape(node_.inputs[0]), apart = strides(node_.inputs[0]), to = shape(node_.output);
    std::vector<Index> x_strides(to.size(), 0);
    for (std::size_t i = 0; i < from.size(); ++i)
      if (from[i] != 1) x_strides[to.size() - from.size() + i] = apart[i];
    copy(x_strides, 0);
  }

  void prefix() {
    const std::vector<Index> from = shape(node_.inputs[0]), to = shape(node_.output);
    for (std::size_t i = 0; i < from.size(); ++i)
      check(to[i] >= 0 && to[i] <= from[i], "the model holds ", from[i], " positions of ",
            node_.name.empty() ? "it" : node_.name, "; a call as large as this one needs ", to[i]);
    copy(strides(node_.inputs[0]), 0);
  }

  void permute() {
    const std::vector<Index> from = shape(node_.inputs[0]), apart = strides(node_.inputs[0]);
    if (same_place(view(node_.inputs[0]), before(node_, view(node_.output), shape(node_.output)), from)) return;
    std::vector<Index> x_strides;
    x_strides.reserve(node_.numbers.size());
    for (const Index axis : node_.numbers) x_strides.push_back(apart[static_cast<std::size_t>(axis)]);
    copy(x_strides, 0);
  }

  void slice() {
    std::vector<Index> x_strides = strides(node_.inputs[0]);
    Index first = 0;
    for (std::size_t i = 0; i < x_strides.size(); ++i) {
      first += node_.numbers[3 * i] * x_strides[i];
      x_strides[i] *= node_.numbers[3 * i + 2];
    }
    copy(x_strides, first);
  }

  void pad() {
    const std::vector<Index> from = shape(node_.inputs[0]);
    std::vector<PadAxis> axes;
    axes.reserve(from.size());
    for (std::size_t i = 0; i < from.size(); ++i) axes.push_back({node_.numbers[2 * i], from[i], node_.numbers[2 * i + 1]});
    planned_.plans = {plan_pad(axes, threads_for(program_.elements(node_.output, batch_) / 2))};
  }

  void softmax() {
    const auto [rows, columns] = rows_of(1);
    planned_.plans = {plan_softmax(table_, rows, columns, threads_for(rows * columns * 2))};
  }

  void norm(decltype(plan_layer_norm)* planner) {
    const auto [rows, columns] = rows_of(node_.numbers[0]);
    planned_.plans = {planner(table_, rows, columns, threads_for(rows * columns))};
  }

  void gather() {
    const std::vector<Index> from = shape(node_.inputs[1]);
    Index width = 1;
    for (std::size_t i = 1; i < from.size(); ++i) width *= from[i];
    const Index count = program_.elements(node_.inputs[0], batch_);
    planned_.plans = {plan_gather(count, from[0], width, threads_for(count * width / 2))};
  }

  void write_rows() {
    const std::vector<Index> to = shape(node_.inputs[0]), rows = shape(node_.inputs[1]), numbers = shape(node_.inputs[2]);
    const WrittenRows s{to[0] * to[1], to[2], to[3], rows[2], to[1], numbers[0] == 1 ? 0 : numbers[1]};
    planned_.plans = {plan_write_rows(s, threads_for(program_.elements(node_.output, batch_) / 2))};
  }

  void matmul() {
    const std::vector<Index> x = shape(node_.inputs[0]), y = shape(node_.output);
    const std::size_t last = x.size() - 1;
    MatmulShape s{1, x[last - 1], x[last], y[last], node_.numbers[0] != 0};
    for (std::size_t i = 0; i + 1 < last; ++i) s.batch *= x[i];
    planned_.multiply_adds = checked_mul(checked_mul(s.batch, s.rows * s.columns, "work"), s.depth, "work");
    planned_.plans = {plan_matmul(table_, s, threads_for(planned_.multiply_adds))};
  }

  HeadStrides head_strides(Index value, Index heads_axis) const {
    const std::vector<Index> apart = strides(value);
    return {apart[0], apart[static_cast<std::size_t>(heads_axis)], apart[static_cast<std::size_t>(3 - heads_axis)]};
  }

  void attention() {
    const std::vector<Index>& n = node_.numbers;
    const auto axes = [&](std::size_t i, Index heads_axis) {
      return attention_axes(program_.values()[static_cast<std::size_t>(node_.inputs[i])].shape, heads_axis);
    };
    const AttentionAxes q = axes(0, n[0]), k = axes(1, n[1]), v = axes(2, n[2]);
    AttentionShape s{.batch = q.batch.at(batch_),
                     .heads = q.heads.fixed,
                     .queries = q.tokens.at(batch_),
                     .keys = k.tokens.at(batch_),
                     .depth = q.features.fixed,
                     .width = v.features.fixed,
                     .shared = q.heads.fixed / k.heads.fixed,
                     .causal = n[4] == 1,
                     .q = head_strides(node_.inputs[0], n[0]),
                     .k = head_strides(node_.inputs[1], n[1]),
                     .v = head_strides(node_.inputs[2], n[2]),
                     .y = head_strides(node_.output, n[3])};
    if (n[4] == 2) {
      const std::vector<Index> sizes = shape(node_.inputs[3]);
      s.by_position = true;
      s.position_item = sizes[0] == 1 ? 0 : sizes[1];
    } else if (node_.inputs.size() == 4) {
      const std::vector<Index> sizes = shape(node_.inputs[3]), apart = strides(node_.inputs[3]);
      const auto step = [&](std::size_t axis) { return sizes[axis] == 1 ? 0 : apart[axis]; };
      s.masked = true;
      s.mask = {step(0), step(1), step(2)};
      s.mask_is_one_for_all_keys = step(3) == 0 && s.keys != 1;
    }
    const Index scores = checked_mul(checked_mul(s.batch, s.heads, "work"), checked_mul(s.queries, s.keys, "work"), "work");
    planned_.multiply_adds = checked_mul(scores, s.depth + s.width, "work");
    planned_.plans = {plan_attention(table_, s, threads_for(planned_.multiply_adds))};
  }

  void recurrence(Cell cell) {
    const std::vector<Index> from = shape(node_.inputs[0]);
    const auto batch = static_cast<std::size_t>(node_.numbers[0]);
    const WeightInfo& w = program_.weights()[static_cast<std::size_t>(node_.weight)];
    const RecurrentShape s{.cell = cell,
                           .steps = from[1 - batch],
                           .batch = from[batch],
                           .hidden = w.cols,
                           .directions = w.rows / (gates_of(cell) * w.cols),
                           .batch_first = batch == 0,
                           .has_state = node_.inputs.size() > 1,
                           .keeps_cells = cell == Cell::lstm && node_.numbers[1] != 0};
    const Index columns = std::clamp<Index>(s.batch, 1, kSkinnyColumns);
    format_ = choose_format(weights_.density(node_.weight), columns, s.hidden);
    if (s.hidden % 2 != 0) format_ = WeightFormat::csr;  // whose gates may begin at any row
    planned_.weight = weights_.get(node_.weight, format_);
    const Index passes = checked_mul(s.steps, s.batch, "work");
    planned_.multiply_adds = checked_mul(static_cast<Index>(w.values.size()), passes, "work");
    const Index step =
        checked_mul(planned_.weight->nnz() + w.rows, std::max(s.batch, Tuning::threads.few_columns_worth), "work");
    planned_.plans = {plan_recurrent_sequence(table_, *planned_.weight, s, threads_for(checked_mul(step, s.steps, "work")))};
  }

  const Kernels& table_;
  Weights& weights_;
  const Program& program_;
  const NodeInfo& node_;
  const std::vector<View>& views_;
  Index batch_;
  int threads_;
  const NodeInfo* expansion_;
  WeightFormat format_ = WeightFormat::csr;
  PlannedNode planned_;
};

}  // namespace

PlannedNode plan_node(const Kernels& table, Weights& weights, const NodeInfo& node, const std::vector<View>& views, Index batch,
                      int threads, const NodeInfo* expansion) {
  return Planner(table, weights, node, views, batch, threads, expansion).plan();
}

Index columns_of_item(const Program& program, const NodeInfo& node) {
  const std::vector<Index> shape = program.shape(node.output, 1);
  Index columns = 1;
  if (is_recurrent(node.operation)) return columns;  // one after another
  if (is_convolution(node.operation))
    for (std::size_t i = 2; i < shape.size(); ++i) columns *= shape[i];
  else
    for (std::size_t i = 0; i + 1 < shape.size(); ++i) columns *= shape[i];
  return columns;
}

}  // namespace sparse_engine
