// Strided views to row-major panels and back.
//
// Method   Rows that are contiguous are copied; columns that are contiguous go through 4×4 transposes; the rest element-wise.
// Cost     one load and one store per element.
#pragma once

#include "simd.hpp"
#include "table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

inline void copy_row(const float* source, float* target, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(target + i, load(source + i));
  for (; i < count; ++i) target[i] = source[i];
}

// target[r * target_stride + c] = source[c * source_stride + r]: reads along r, writes along c.
inline void transpose_block(const float* source, int64_t source_stride, float* target, int64_t target_stride, int64_t rows,
                            int64_t columns) {
  int64_t c = 0;
  for (; c + 4 <= columns; c += 4) {
    const float* s = source + c * source_stride;
    float* t = target + c;
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      Quad a = load_quad(s + r), b = load_quad(s + source_stride + r);
      Quad d = load_quad(s + 2 * source_stride + r), e = load_quad(s + 3 * source_stride + r);
      transpose(a, b, d, e);
      store_quad(t + r * target_stride, a);
      store_quad(t + (r + 1) * target_stride, b);
      store_quad(t + (r + 2) * target_stride, d);
      store_quad(t + (r + 3) * target_stride, e);
    }
    for (; r < rows; ++r)
      for (int64_t j = 0; j < 4; ++j) t[r * target_stride + j] = s[j * source_stride + r];
  }
  for (; c < columns; ++c)
    for (int64_t r = 0; r < rows; ++r) target[r * target_stride + c] = source[c * source_stride + r];
}

void panel_pack(const PackArgs& args) {
  if (args.row_stride == 1 && args.column_stride != 1) {
    transpose_block(args.source, args.column_stride, args.target, args.target_stride, args.rows, args.columns);
  } else {
    for (int64_t r = 0; r < args.rows; ++r) {
      const float* s = args.source + r * args.row_stride;
      float* t = args.target + r * args.target_stride;
      if (args.column_stride == 1) {
        copy_row(s, t, args.columns);
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
    transpose_block(args.source, args.source_stride, args.target, args.column_stride, args.columns, args.rows);
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
