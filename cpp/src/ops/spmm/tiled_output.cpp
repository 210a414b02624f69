#include "ops/spmm/tiled_output.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/check.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {
namespace {

bool is_line(const float* p) { return reinterpret_cast<std::uintptr_t>(p) % (kLineFloats * sizeof(float)) == 0; }

}  // namespace

TiledOutput::TiledOutput(const Kernels& table, std::shared_ptr<const Tiles> tiles, const ColumnGrid& grid, const Images& y,
                         Rows rows, Index columns)
    : table_(&table), tiles_(std::move(tiles)), grid_(grid), y_(y), rows_(rows), pitch_(columns) {
  const Index images = checked_mul(y.batch, y.channels, "y"), positions = checked_mul(y.height, y.width, "y");
  const Index bytes = checked_mul(checked_mul(images, positions, "y"), sizeof(float), "y in bytes");
  large_ = bytes > tuning().near_bytes;
  streamed_ = bytes > tuning().result_bytes && y.stride_c % kLineFloats == 0;
}

Index TiledOutput::result_floats() const {
  Index rows = 0;
  for (Index tile = 0; tile < tiles_->count(); ++tile) rows = std::max(rows, tiles_->row_end(tile) - tiles_->row_begin(tile));
  return rows * pitch_;
}

void TiledOutput::multiply(Index tile, const float* x, Index first_block, Index end_block, const ColumnRange& p,
                           const Operands& operands, float* result, const PanelPlaces* places) const {
  const Kernels& table = *table_;
  const Index first_channel = tiles_->row_begin(tile), channels = tiles_->row_end(tile) - first_channel;
  const Index width = (p.columns + table.lanes - 1) / table.lanes * table.lanes;
  const Index corner = p.image * y_.stride_n + first_channel * y_.stride_c + p.first_row * y_.stride_h;
  // Within one image and without gaps the kernel writes y itself.
  const Index positions = grid_.columns(), image = p.position / positions;
  const bool by_row = rows_ == Rows::by_row;
  const bool direct = by_row || places ||
                      (rows_ == Rows::contiguous && p.columns == width && (p.position + p.columns - 1) / positions == image);
  const Index offset = places   ? corner
                       : by_row ? corner + p.position / grid_.pitch * y_.stride_h + p.position % grid_.pitch
                                : corner + image * y_.stride_n + p.position % positions;
  const float* residual = operands.epilogue.residual;
  if (residual && direct) {
    residual += offset;
  } else if (residual) {
    if (first_block == 0) {
      std::fill_n(result, channels * pitch_, 0.0f);
      const ConstImages source{residual + corner, y_.batch,    y_.channels, y_.height,  y_.width,
                               y_.stride_n,       y_.stride_c, y_.stride_h, y_.stride_w};
      pack_result(table, grid_, source, channels, p.position, p.columns, result, pitch_);
    }
    residual = result;
  }
  float* const target = operands.y + offset;
  tiles_->multiply({.kernels = &table,
                    .tile = tile,
                    .x = x,
                    .width = width,
                    .bias = operands.epilogue.bias,
                    .initial = residual,
                    .initial_row_stride = direct ? y_.stride_c : pitch_,
                    .activation = operands.epilogue.activation,
                    .y = direct ? target : result,
                    .y_row_stride = direct ? y_.stride_c : pitch_,
                    .fetch_y = direct && large_,
                    .stream_y = direct && !places && streamed_ && p.columns == kTileColumns && is_line(target),
                    .places = places,
                    .first_block = first_block,
                    .end_block = end_block,
                    .partial = result,
                    .partial_row_stride = pitch_});
  if (direct || end_block != tiles_->blocks()) return;
  Images to = y_;
  to.data = operands.y + corner;
  unpack_result(table, grid_, result, pitch_, channels, p.position, p.columns, to);
}

PanelPlaces TiledOutput::places_of(const ColumnRange& p, Index rows) const {
  PanelPlaces places{};
  const Index lanes = table_->lanes, vectors = (p.columns + lanes - 1) / lanes, end = rows * y_.width;
  for (Index v = 0; v < vectors; ++v) {
    const Index first = p.position + v * lanes;
    const Index begin = first / grid_.pitch * y_.width + std::min(first % grid_.pitch, y_.width);
    places.begins[v] = static_cast<std::int32_t>(begin);
    for (Index lane = 0; lane < lanes && v * lanes + lane < p.columns; ++lane)
      if ((first + lane) % grid_.pitch < y_.width)
        places.lanes[v * lanes + places.outputs[v]++] = static_cast<std::uint32_t>(lane);
    if (begin + lanes <= end) places.whole = static_cast<std::int32_t>(v + 1);
  }
  return places;
}

}  // namespace sparse_engine
