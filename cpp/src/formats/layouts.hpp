// The layouts of one matrix that somebody holds: plans that need the same one share it.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "formats/matrix_impl.hpp"

namespace sparse_engine {

// Refuses shapes that no layout can have.
void check_tile_shape(const TileShape& shape);

// Keeps nothing alive itself. Layouts are as large as the matrix, and a convolution asks for one per size of image; most of
// them are the same but for the offsets, and moving those is a fraction of a product's time.
class Layouts {
 public:
  explicit Layouts(std::shared_ptr<const MatrixImpl> matrix);
  std::shared_ptr<const Tiles> tiles(const TileShape& shape);
  std::shared_ptr<const SkinnyLayout> skinny(SkinnyKind kind);  // null for `none`
  Index bytes();

 private:
  const std::shared_ptr<const MatrixImpl> matrix_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<const Tiles>> tiles_;  // guarded by mutex_
  std::weak_ptr<const SkinnyLayout> blocks_, sliced_;
};

}  // namespace sparse_engine
