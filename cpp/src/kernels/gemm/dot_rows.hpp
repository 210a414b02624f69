// y = A · x of a dense matrix that is computed, not stored, and read once as it lies: the scores of one query.
//
// Method   four rows at a time, each with a vector of partial sums; lanes are added in fours, then across after a
// transposition. Cost     a load and an fma for each vector of a row, and about ten operations a row more. Error
// γ(columns)·Σ|a||x|. A row's sum depends on that row only, wherever it stands.
#pragma once

#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

constexpr int kDotRows = 4;

void dot_rows(const DotRowsArgs& args) {
  const DotRowsArgs a = args;
  for (int64_t row = 0; row < a.rows; row += kDotRows) {
    const float* of[kDotRows];  // the last row again where there are fewer
    for (int r = 0; r < kDotRows; ++r) of[r] = a.a + (row + r < a.rows ? row + r : a.rows - 1) * a.a_row;
    Vec sums[kDotRows] = {splat(0.0f), splat(0.0f), splat(0.0f), splat(0.0f)};
    int64_t i = 0;
    for (; i + kLanes <= a.columns; i += kLanes) {
      const Vec x = load(a.x + i);
      for (int r = 0; r < kDotRows; ++r) sums[r] = fma(x, load(of[r] + i), sums[r]);
    }
    F32x4 fours[kDotRows];
    for (int r = 0; r < kDotRows; ++r) {
      float lanes[kLanes];
      store(lanes, sums[r]);
      fours[r] = load4(lanes);
      for (int lane = 4; lane < kLanes; lane += 4) fours[r] = add4(fours[r], load4(lanes + lane));
    }
    transpose(fours[0], fours[1], fours[2], fours[3]);
    float found[kDotRows];
    store4(found, add4(add4(fours[0], fours[1]), add4(fours[2], fours[3])));
    for (; i < a.columns; ++i)
      for (int r = 0; r < kDotRows; ++r) found[r] = fma(a.x[i], of[r][i], found[r]);
    for (int r = 0; r < kDotRows && row + r < a.rows; ++r) a.y[row + r] = found[r];
  }
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
