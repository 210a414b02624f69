// A CSR matrix laid out once more, for one column of x that exceeds the L1 cache: rows come in chunks, and a chunk's weights in
// blocks of columns, so that a block of x stays in the cache while a chunk passes over it.
#pragma once

#include <algorithm>
#include <vector>

#include "base/aligned_array.hpp"
#include "base/float_types.hpp"
#include "base/tuning.hpp"
#include "formats/skinny.hpp"

namespace sparse_engine {

// Blocks of columns worth having; 1: none.
inline Index column_blocks(Index rows, Index cols, Index nnz) {
  constexpr CsrBlocksTuning t = Tuning::csr_blocks;
  const Index blocks = (cols + t.most_columns - 1) / t.most_columns;
  return cols > t.from_columns && nnz / t.least_per_row_block >= rows * blocks ? blocks : 1;
}

template <class Column, class Value>
class ColumnBlocks final : public SkinnyLayout {
 public:
  ColumnBlocks(Index blocks, Index cols, const std::vector<Index>& row_starts, const Array<Column>& columns,
               const Array<Value>& values, const float* scales)
      : blocks_(blocks), scales_(scales) {
    const Index rows = static_cast<Index>(row_starts.size()) - 1, chunks = (rows + kCsrChunkRows - 1) / kCsrChunkRows;
    const Index width = (cols + blocks - 1) / blocks;
    starts_.reserve(chunks * blocks * kCsrChunkRows + 1);
    starts_.push_back(0);
    columns_.reserve(columns.size());
    values_.reserve(values.size());
    for (Index chunk = 0; chunk < chunks; ++chunk) {
      for (Index block = 0; block < blocks; ++block) {
        for (Index row = chunk * kCsrChunkRows; row < (chunk + 1) * kCsrChunkRows; ++row) {
          if (row < rows) {  // past the last one rows are empty
            const auto begin = columns.begin() + row_starts[row], end = columns.begin() + row_starts[row + 1];
            const auto before = [&](Index border) {
              return std::lower_bound(begin, end, border, [](Column c, Index b) { return Index{c} < b; });
            };
            const auto first = before(block * width), last = before((block + 1) * width);
            columns_.insert(columns_.end(), first, last);
            values_.insert(values_.end(), values.begin() + (first - columns.begin()),
                           values.begin() + (last - columns.begin()));
          }
          starts_.push_back(static_cast<Index>(columns_.size()));
        }
      }
    }
    columns_.resize(columns.size());  // slack
    values_.resize(values.size());
  }

  void multiply(const SkinnyJob& job) const override {
    job.kernels->csr_blocks(CsrBlocksArgs<Column, Value>{.starts = starts_.data(),
                                                         .columns = columns_.data(),
                                                         .values = values_.data(),
                                                         .blocks = blocks_,
                                                         .first_row = job.row_begin,
                                                         .skinny = skinny_args(job, scales_)});
  }

  Index bytes() const override { return bytes_of(starts_) + bytes_of(columns_) + bytes_of(values_); }

 private:
  Index blocks_;
  const float* scales_;  // of the matrix, or null
  std::vector<Index> starts_;
  Array<Column> columns_;
  Array<Value> values_;
};

}  // namespace sparse_engine
