// How the tiles of a wide product reach y: at once where its rows are contiguous, through a result panel otherwise.
#pragma once

#include <memory>

#include "formats/matrix_impl.hpp"
#include "kernels/table.hpp"
#include "ops/plan.hpp"
#include "ops/spmm/columns.hpp"

namespace sparse_engine {

// Columns [position, position + columns) of a product: of all images, or of the rows of one from first_row on.
struct ColumnRange {
  Index image, first_row, position, columns;
};

class TiledOutput {
 public:
  enum class Rows {
    contiguous,  // columns follow one another in y, row by row or a whole image at once
    by_row,      // ranges end with the rows of y, which are written one by one
    gaps,        // columns between the rows of y are no outputs
  };

  TiledOutput() = default;
  // `y` without data: its shape and strides. `grid` of an image, or of a band of one.
  // Ranges have up to `columns`.
  TiledOutput(const Kernels& table, std::shared_ptr<const Tiles> tiles, const ColumnGrid& grid, const Images& y, Rows rows,
              Index columns = kTileColumns);

  const Tiles& tiles() const { return *tiles_; }
  Index result_floats() const;  // scratch for multiply(), of ranges of up to as many columns as were said

  // x: the tile's input channels, from the first position on; `places`, for gaps: which columns are outputs.
  void multiply(Index tile, const float* x, const ColumnRange& p, const Operands& operands, float* result,
                const PanelPlaces* places = nullptr) const {
    multiply(tile, x, 0, tiles_->blocks(), p, operands, result, places);
  }
  // The same of blocks [first_block, end_block) alone, one range after another; `result` is kept from the first to the last.
  void multiply(Index tile, const float* x, Index first_block, Index end_block, const ColumnRange& p, const Operands& operands,
                float* result, const PanelPlaces* places) const;
  // Those of a range in `rows` rows of y, whose planes have no gaps.
  PanelPlaces places_of(const ColumnRange& p, Index rows) const;

 private:
  const Kernels* table_ = nullptr;
  std::shared_ptr<const Tiles> tiles_;
  ColumnGrid grid_{};
  Images y_{};
  Rows rows_ = Rows::gaps;
  Index pitch_ = kTileColumns;  // of a result
  bool large_ = false;          // y is not in the cores' own caches
  bool streamed_ = false;       // nor in any when it is read
};

}  // namespace sparse_engine
