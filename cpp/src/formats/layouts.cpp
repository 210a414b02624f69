#include "formats/layouts.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.hpp"

namespace sparse_engine {

void check_tile_shape(const TileShape& shape) {
  check(shape.block_channels >= 1 && shape.group_rows >= 1 && shape.channel_step >= 0 && !shape.taps.empty(), "tile shape ",
        shape.block_channels, " channels × ", shape.group_rows, " rows, ", shape.channel_step, " apart, ", shape.taps.size(),
        " taps is out of range");
  const auto [first_tap, last_tap] = std::minmax_element(shape.taps.begin(), shape.taps.end());
  const Index reach = checked_add(checked_mul(shape.block_channels, shape.channel_step, "block"), *last_tap, "block");
  check(*first_tap >= 0 && reach <= std::numeric_limits<std::uint32_t>::max(), "a block reaches over ", reach,
        " elements of X, from ", *first_tap, "; it must lie within 0 and 2³²");
  checked_mul(shape.block_channels, static_cast<Index>(shape.taps.size()), "block");
}

Layouts::Layouts(std::shared_ptr<const MatrixImpl> matrix) : matrix_(std::move(matrix)) {}

std::shared_ptr<const Tiles> Layouts::tiles(const TileShape& shape) {
  check_tile_shape(shape);
  const std::lock_guard lock(mutex_);
  std::erase_if(tiles_, [](const auto& layout) { return layout.expired(); });
  std::shared_ptr<const Tiles> moved;
  for (const auto& kept : tiles_) {
    const std::shared_ptr<const Tiles> layout = kept.lock();
    if (!layout) continue;
    if (layout->shape() == shape) return layout;
  }
  for (const auto& kept : tiles_) {
    const std::shared_ptr<const Tiles> layout = kept.lock();
    if (layout && !moved) moved = layout->moved(shape);
  }
  if (!moved) moved = matrix_->lay_out(shape);
  tiles_.push_back(moved);
  return moved;
}

std::shared_ptr<const SkinnyLayout> Layouts::skinny(SkinnyKind kind) {
  if (kind == SkinnyKind::none) return nullptr;
  const std::lock_guard lock(mutex_);
  std::weak_ptr<const SkinnyLayout>& kept = kind == SkinnyKind::blocks ? blocks_ : sliced_;
  std::shared_ptr<const SkinnyLayout> layout = kept.lock();
  if (!layout) kept = layout = matrix_->lay_out_skinny(kind);
  return layout;
}

Index Layouts::bytes() {
  const std::lock_guard lock(mutex_);
  Index total = 0;
  for (const auto& kept : tiles_)
    if (const auto layout = kept.lock()) total += layout->bytes();
  for (const auto* kept : {&blocks_, &sliced_})
    if (const auto layout = kept->lock()) total += layout->bytes();
  return total;
}

}  // namespace sparse_engine
