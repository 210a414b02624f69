// Bitmask times one to eight columns: Y = W·X, bound by the bytes of W: one bit a column and the stored values.
//
// Method   One column: two rows at a time, eight columns a step as eight lanes (gemv/expand.hpp), two sums of eight lanes a
// row.
//          More: the columns of 512 bits at a time are written down as numbers, and their row runs as a row of CSR does.
//          An absent weight is a zero lane. Where x holds Inf or NaN, which a scan finds before anything is multiplied, lanes
//          of x without a weight are zeroed too.
// Cost     one column, per eight columns of W: float32 two loads of values and one of the shuffle, one insert, one shuffle, one
//          fma, two population counts; sixteen bits one load, one shuffle, one fma and one count. x is loaded once for two
//          rows.
// Error    at most γ(k + 2)·Σ|w||x| per output, k = stored weights in the row: adding the zeros rounds nothing.
// Source   expanding loads by table: Lemire et al., "SIMD compression and the intersection of sorted integers", 2016.
#pragma once

#include "kernels/gemv/csr.hpp"
#include "kernels/gemv/expand.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

inline bool all_finite(const float* x, int64_t count) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    __builtin_memcpy(&bits, x + i, sizeof(bits));
    bits &= 0x7fffffffu;
    largest = bits > largest ? bits : largest;
  }
  return largest < 0x7f800000u;
}

// What one row has come to: where its values go on, and two sums, of the even and of the odd bytes of its mask.
template <class Value>
struct BitmaskRow {
  const uint64_t* masks;
  const Value* values;
  F32x8 even, odd;
};

// 64 columns of kRows rows.
template <int kRows, bool kEverythingFinite, class Value>
[[gnu::always_inline]] inline void add_word(BitmaskRow<Value> (&rows)[kRows], int64_t word, const float* x) {
  constexpr int kShift = Expand<Value>::kShift;
#pragma GCC unroll 8
  for (int byte = 0; byte < 8; ++byte) {
    F32x8 eight = load8(x + 8 * byte);
    if constexpr (kRows > 1) hold(eight);
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) {
      BitmaskRow<Value>& row = rows[r];
      const uint64_t bits = row.masks[word];
      const uint64_t mask = (8 * byte >= kShift ? bits >> (8 * byte - kShift) : bits << (kShift - 8 * byte)) & 0xffu << kShift;
      F32x8& sum = byte % 2 == 0 ? row.even : row.odd;
      const F32x8 own = kEverythingFinite ? eight : keep_lanes(eight, mask >> kShift);
      sum = fma8(Expand<Value>()(row.values, mask), own, sum);
      row.values += __builtin_popcountll(mask);
    }
  }
}

// Sums of int8 are scaled at their end, and the sum may be beyond the range of float where its scaled value is not: such a
// column is added up again, weight by weight.
template <class Value>
[[gnu::noinline]] float scaled_sum(const BitmaskArgs<Value>& a, int64_t row, int64_t words, int64_t column) {
  const int64_t pitch = a.skinny.columns > 1 ? 8 : 1;
  const Value* value = a.values + a.row_starts[row];
  float sum = 0;
  for (int64_t word = 0; word < words; ++word)
    for (uint64_t bits = a.masks[row * words + word]; bits != 0; bits &= bits - 1)
      sum += widen(*value++) * a.skinny.scales[row] * a.skinny.x[(64 * word + __builtin_ctzll(bits)) * pitch + column];
  return sum;
}

inline bool is_finite(float v) { return v - v == 0.0f; }

template <class Value>
inline float scaled(const BitmaskArgs<Value>& a, int64_t row, int64_t words, float sum) {
  if (!a.skinny.scales) return sum;
  return is_finite(sum) ? sum * a.skinny.scales[row] : scaled_sum(a, row, words, 0);
}

// `last` holds the x of the last, possibly incomplete word.
template <int kRows, bool kEverythingFinite, class Value>
void bitmask_times_one(const BitmaskArgs<Value>& a, int64_t first, int64_t words, const float* last) {
  BitmaskRow<Value> rows[kRows];
  for (int r = 0; r < kRows; ++r)
    rows[r] = {a.masks + (first + r) * words, a.values + a.row_starts[first + r], splat8(0.0f), splat8(0.0f)};
  for (int64_t word = 0; word + 1 < words; ++word) add_word<kRows, kEverythingFinite>(rows, word, a.skinny.x + 64 * word);
  if (words > 0) add_word<kRows, kEverythingFinite>(rows, words - 1, last);
  for (int r = 0; r < kRows; ++r) {
    const float sum = sum8(add8(rows[r].even, rows[r].odd));
    finish_one(a.skinny, first + r, 0, scaled(a, first + r, words, sum));
  }
}

template <bool kEverythingFinite, class Value>
void bitmask_one_column(const BitmaskArgs<Value>& a, int64_t words) {
  float last[64] = {};
  const int64_t whole = words > 0 ? 64 * (words - 1) : 0;
  for (int64_t i = whole; i < a.cols; ++i) last[i - whole] = a.skinny.x[i];
  int64_t row = 0;
  for (; row + 2 <= a.skinny.rows; row += 2) bitmask_times_one<2, kEverythingFinite>(a, row, words, last);
  if (row < a.skinny.rows) bitmask_times_one<1, kEverythingFinite>(a, row, words, last);
}

struct Positions {
  uint8_t of[256][8];  // the bits that are 1, lowest first
};
constexpr Positions make_positions() {
  Positions positions{};
  for (int mask = 0; mask < 256; ++mask)
    for (int bit = 0, count = 0; bit < 8; ++bit)
      if ((mask >> bit & 1) != 0) positions.of[mask][count++] = static_cast<uint8_t>(bit);
  return positions;
}
constexpr Positions kPositions = make_positions();

// Writes the columns of eight words down, counted from the first, and up to eight entries of no meaning; returns their number.
// The number of a byte's first column stays in a vector: as a scalar that is splat for every byte, GCC keeps it in a mask
// register.
inline int64_t write_columns(const uint64_t* masks, int64_t words, uint16_t* columns) {
  typedef uint8_t Bytes __attribute__((vector_size(8)));
  typedef uint16_t Words __attribute__((vector_size(16)));
  Words first{};
  int64_t count = 0;
  for (int64_t word = 0; word < words; ++word)
#pragma GCC unroll 8
    for (int byte = 0; byte < 8; ++byte) {
      const uint64_t mask = masks[word] >> 8 * byte & 0xff;
      Bytes bits;
      __builtin_memcpy(&bits, kPositions.of[mask], sizeof(bits));
      const Words numbers = __builtin_convertvector(bits, Words) + first;
      __builtin_memcpy(columns + count, &numbers, sizeof(numbers));
      first += 8;
      count += __builtin_popcountll(mask);
    }
  return count;
}

template <class Value>
void bitmask_eight_columns(const BitmaskArgs<Value>& a, int64_t words) {
  uint16_t columns[512 + 8];
  for (int64_t row = 0; row < a.skinny.rows; ++row) {
    const Value* values = a.values + a.row_starts[row];
    F32x8 sum = splat8(0.0f);
    for (int64_t word = 0; word < words; word += 8) {
      const int64_t left = words - word;
      const int64_t count = write_columns(a.masks + row * words + word, left < 8 ? left : 8, columns);
      sum = add8(sum, csr_times_eight<false>(values, columns, count, a.skinny.x + 8 * 64 * word));
      values += count;
    }
    if (a.skinny.scales) {
      float sums[8];
      store8(sums, sum);
      for (int64_t column = 0; column < 8; ++column)
        sums[column] = is_finite(sums[column]) || column >= a.skinny.columns ? sums[column] * a.skinny.scales[row]
                                                                             : scaled_sum(a, row, words, column);
      sum = load8(sums);
    }
    finish_eight(a.skinny, row, sum);
  }
}

template <class Value>
void bitmask_gemv(const BitmaskArgs<Value>& args) {
  const BitmaskArgs<Value> a = args;
  const int64_t words = (a.cols + 63) / 64;
  if (a.skinny.columns > 1) return bitmask_eight_columns(a, words);
  all_finite(a.skinny.x, a.cols) ? bitmask_one_column<true>(a, words) : bitmask_one_column<false>(a, words);
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
