// Strided views to row-major panels and back.
//
// Method   Rows that are contiguous are copied, and of rows every second element (a stride of two) by vectors as well; columns
//          that are contiguous are transposed 8×4 at a time; the rest goes element by element.
// Cost     one load and one store per element; a stride of two loads two vectors for each that it stores.
#pragma once

#include "kernels/simd/simd.hpp"
#include "kernels/simd/simd8.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

inline void copy_row(const float* source, float* target, int64_t count) {
  // The last vector overlaps the one before it: feature maps are 7, 14, 28 wide, and their rows would be mostly tails.
  if (count >= kLanes) {
    for (int64_t i = 0; i < count - kLanes; i += kLanes) store(target + i, load(source + i));
    store(target + count - kLanes, load(source + count - kLanes));
  } else if (count >= 4) {
    const F32x4 last = load4(source + count - 4);
    for (int64_t i = 0; i < count - 4; i += 4) store4(target + i, load4(source + i));
    store4(target + count - 4, last);
  } else {
    for (int64_t i = 0; i < count; ++i) target[i] = source[i];
  }
}

// target[i] = source[2 i].
inline void copy_evens(const float* source, float* target, int64_t count) {
  if (count >= kLanes) {
    for (int64_t i = 0; i < count - kLanes; i += kLanes) store(target + i, evens(source + 2 * i));
    store(target + count - kLanes, evens(source + 2 * (count - kLanes)));
  } else if (count >= 4) {
    const F32x4 last = evens4(source + 2 * (count - 4));
    for (int64_t i = 0; i < count - 4; i += 4) store4(target + i, evens4(source + 2 * i));
    store4(target + count - 4, last);
  } else {
    for (int64_t i = 0; i < count; ++i) target[i] = source[2 * i];
  }
}

// Short pieces of rows that lie apart are no stream a processor would fetch by itself. Past the end of the array a prefetch
// does nothing.
constexpr int64_t kFetchedAhead = 8;

inline void fetch_row(const float* row, int64_t count) {
  for (int64_t i = 0; i < count + kLineFloats; i += kLineFloats) __builtin_prefetch(row + i);
}

// target[r * target_stride + c] = source[c * source_stride + r]. The caller's array may have rows a power of two apart, which
// all fall into the same cache sets; so the walk goes along its rows, eight or four at a time, and jumps in the panel instead:
// in so much of it that it stays in the L1 cache.
enum class Along { source, target };
constexpr int64_t kChunkColumns = 128;

template <Along along>
void transpose_block(const float* source, int64_t source_stride, float* target, int64_t target_stride, int64_t rows,
                     int64_t columns) {
  const int64_t whole_rows = rows / 4 * 4, eights = columns / 8 * 8;
  if (along == Along::source) {
    for (int64_t c = 0; c < eights; c += 8)
      for (int64_t r = 0; r < whole_rows; r += 4)
        transpose8(source + c * source_stride + r, source_stride, target + r * target_stride + c, target_stride);
  } else {
    for (int64_t first = 0; first < eights; first += kChunkColumns) {
      const int64_t end = eights < first + kChunkColumns ? eights : first + kChunkColumns;
      for (int64_t r = 0; r < whole_rows; r += 4)
        for (int64_t c = first; c < end; c += 8)
          transpose8(source + c * source_stride + r, source_stride, target + r * target_stride + c, target_stride);
    }
  }
  int64_t whole_columns = eights;
  if (columns - eights >= 4) {
    for (int64_t r = 0; r < whole_rows; r += 4)
      transpose4(source + eights * source_stride + r, source_stride, target + r * target_stride + eights, target_stride);
    whole_columns += 4;
  }
  for (int64_t r = whole_rows; r < rows; ++r)
    for (int64_t c = 0; c < whole_columns; ++c) target[r * target_stride + c] = source[c * source_stride + r];
  for (int64_t c = whole_columns; c < columns; ++c)
    for (int64_t r = 0; r < rows; ++r) target[r * target_stride + c] = source[c * source_stride + r];
}

void panel_pack(const PackArgs& args) {
  if (args.row_stride == 1 && args.column_stride != 1) {
    transpose_block<Along::source>(args.source, args.column_stride, args.target, args.target_stride, args.rows, args.columns);
  } else {
    const bool apart = args.row_stride > args.columns;
    for (int64_t r = 0; r < args.rows; ++r) {
      const float* s = args.source + r * args.row_stride;
      float* t = args.target + r * args.target_stride;
      if (args.column_stride == 1) {
        if (apart) fetch_row(s + kFetchedAhead * args.row_stride, args.columns);
        copy_row(s, t, args.columns);
      } else if (args.column_stride == 2) {
        copy_evens(s, t, args.columns);
      } else {
        for (int64_t c = 0; c < args.columns; ++c) t[c] = s[c * args.column_stride];
      }
    }
  }
  for (int64_t r = 0; r < args.rows; ++r)
    for (int64_t c = args.columns; c < args.target_columns; ++c) args.target[r * args.target_stride + c] = 0.0f;
}

void panel_unpack(const UnpackArgs& args) {
  if (args.row_stride == 1 && args.column_stride != 1) {
    // The same transposition seen from the other side: target rows are this panel's columns.
    transpose_block<Along::target>(args.source, args.source_stride, args.target, args.column_stride, args.columns, args.rows);
    return;
  }
  for (int64_t r = 0; r < args.rows; ++r) {
    const float* s = args.source + r * args.source_stride;
    float* t = args.target + r * args.row_stride;
    if (args.column_stride == 1) {
      copy_row(s, t, args.columns);
    } else {
      for (int64_t c = 0; c < args.columns; ++c) t[c * args.column_stride] = s[c];
    }
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
