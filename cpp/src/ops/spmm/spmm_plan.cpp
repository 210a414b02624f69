#include "ops/spmm/spmm_plan.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <numeric>

#include "base/check.hpp"
#include "base/tuning.hpp"
#include "ops/spmm/blocks.hpp"
#include "ops/spmm/tiled_output.hpp"

namespace sparse_engine {
namespace {

// What both ways of reading X share: tiles, cut among `splits` threads where there are few ranges of columns.
class WidePlan : public Plan {
 public:
  const Tiles* tiles() const override { return &output_.tiles(); }

 protected:
  WidePlan(const Kernels& table, const Matrix& w, const ConstImages& x, Index groups, const Images& y)
      : table_(table), x_(x), y_(y), grid_{y.height, y.width, y.width} {
    group_channels_ = x.channels / groups;
    group_rows_ = w.rows() / groups;
  }

  void lay_out(Strategy strategy, const Matrix& w, Index ranges, int threads, Index channel_step, Index packed_floats) {
    channel_step_ = channel_step;
    packed_floats_ = packed_floats;
    const bool contiguous = y_.stride_w == 1 && y_.stride_h == y_.width;
    output_ = TiledOutput(table_, w.plans().layouts().tiles(panel_shape(w, group_rows_, group_channels_, channel_step)), grid_,
                          y_, contiguous ? TiledOutput::Rows::contiguous : TiledOutput::Rows::gaps);
    splits_ = evenly(ranges, threads) ? 1 : std::min<Index>(threads, output_.tiles().count());
    cut(strategy, checked_mul(ranges, splits_, "tasks"), threads, 0,
        checked_add(packed_floats, output_.result_floats(), "workspace"));
  }

  // x: the first channel of the range's first column.
  void multiply(Index split, const float* x, const ColumnRange& range, const Operands& operands, float* result) const {
    const Tiles& tiles = output_.tiles();
    for (Index tile = tiles.count() * split / splits_; tile < tiles.count() * (split + 1) / splits_; ++tile) {
      const Index group = tiles.row_begin(tile) / group_rows_;
      output_.multiply(tile, x + group * group_channels_ * channel_step_, range, operands, result);
    }
  }

  const Kernels& table_;
  ConstImages x_;
  Images y_;
  ColumnGrid grid_;
  TiledOutput output_;
  Index group_channels_, group_rows_;
  Index splits_ = 1;         // tasks that share a range of columns, each with some of the tiles
  Index channel_step_ = 0;   // from a row of X to the next, where tiles read it
  Index packed_floats_ = 0;  // of a worker's scratch, before its results
};

// A task packs a panel of X and multiplies it: what another core packed is slow to read. Columns run on across images.
class PanelsPlan final : public WidePlan {
 public:
  PanelsPlan(const Kernels& table, const Matrix& w, const ConstImages& x, Index groups, const Images& y, int threads)
      : WidePlan(table, w, x, groups, y) {
    columns_ = checked_mul(y.batch, grid_.columns(), "columns");
    const Index panels = (columns_ + kTileColumns - 1) / kTileColumns;
    // Panels differ by a vector at most: a narrow last one would cost nearly as much as a wide one, and the threads that take
    // wide ones would be waited for.
    const Index vectors = (columns_ + table.lanes - 1) / table.lanes;
    vectors_ = panels == 0 ? 0 : vectors / panels;
    wider_ = panels == 0 ? 0 : vectors % panels;
    // A power of two, so that sizes of input share layouts.
    const Index widest = (vectors_ + (wider_ > 0 ? 1 : 0)) * table.lanes;
    const auto rounded = static_cast<Index>(std::bit_ceil(static_cast<std::uint64_t>(widest)));
    const Index pitch = std::min<Index>(kTileColumns, rounded);
    const Index packed = checked_add(checked_mul(x.channels, pitch, "packed panel"), Index{2} * kTileColumns, "packed panel");
    lay_out(Strategy::panels, w, panels, threads, pitch, packed);
  }

 private:
  void run_one(Index task, const Operands& operands, const float*, float* own) const override {
    const Index panel = task / splits_, position = begin_of(panel),
                columns = std::min(begin_of(panel + 1), columns_) - position;
    ConstImages x = x_;
    x.data = operands.x;
    pack_panel(table_, grid_, x, position, columns, own, channel_step_);
    multiply(task % splits_, own, {.image = 0, .first_row = 0, .position = position, .columns = columns}, operands,
             own + packed_floats_);
  }

  Index begin_of(Index panel) const { return (panel * vectors_ + std::min(panel, wider_)) * table_.lanes; }

  Index columns_;
  Index vectors_, wider_;  // of a panel, and how many panels have one more
};

// X is read where it lies.
class InPlacePlan final : public WidePlan {
 public:
  InPlacePlan(const Kernels& table, const Matrix& w, const ConstImages& x, Index groups, const Images& y, int threads)
      : WidePlan(table, w, x, groups, y), image_ranges_((grid_.columns() + kTileColumns - 1) / kTileColumns) {
    lay_out(Strategy::in_place, w, checked_mul(x.batch, image_ranges_, "panels"), threads, x.stride_c, 0);
  }

 private:
  void run_one(Index task, const Operands& operands, const float*, float* own) const override {
    const Index range = task / splits_, image = range / image_ranges_, position = range % image_ranges_ * kTileColumns;
    const Index columns = std::min<Index>(kTileColumns, grid_.columns() - position);
    multiply(task % splits_, operands.x + image * x_.stride_n + position,
             {.image = image, .first_row = 0, .position = position, .columns = columns}, operands, own);
  }

  Index image_ranges_;
};

// Where a row of X is used by few weights, copying it costs more than it saves; fewer still where X comes from memory, which
// copying asks for in time. Images only: their sizes are few, and each asks for a layout of its own; the columns of a product
// are often another number with every call.
bool readable_in_place(const Kernels& table, const Matrix& w, const ConstImages& x) {
  const Tuning& t = tuning();
  const Index positions = x.height * x.width;
  if (x.stride_w != 1 || x.stride_h != x.width || x.height < 2 || positions % table.lanes != 0) return false;
  // Rows a power of two apart share cache sets, rows that begin amid a line cost two.
  if (x.stride_c < positions || x.stride_c > Index{1} << 20 || x.stride_c % kLineFloats != 0) return false;
  if (std::gcd(x.stride_c / kLineFloats, t.cache_sets) > t.lines_apart) return false;
  const Index floats = checked_mul(checked_mul(x.batch, x.channels, "x"), positions, "x");
  const bool cached = floats <= t.near_bytes / static_cast<Index>(sizeof(float));
  return w.nnz() <= (cached ? t.in_place_uses : t.in_place_uses_from_memory) * x.channels;
}

}  // namespace

std::shared_ptr<const Plan> plan_panels(const Kernels& table, const Matrix& w, const ConstImages& x, Index groups,
                                        const Images& y, int threads) {
  if (readable_in_place(table, w, x)) return std::make_shared<InPlacePlan>(table, w, x, groups, y, threads);
  return std::make_shared<PanelsPlan>(table, w, x, groups, y, threads);
}

}  // namespace sparse_engine
