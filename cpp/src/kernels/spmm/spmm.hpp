// CSR times a panel: Y = W·X for one tile of rows and one block of columns. X dense, up to 64 columns wide.
//
// Method   One row at a time, up to eight vectors of columns in registers; the block of X stays in the L1 cache. A stored
//          weight lies beside the offset of its row of X, which is all that sets a convolution apart.
//          A convolution's panel may be written without the columns between output rows (PanelPlaces).
// Cost     per stored weight: one splat, one integer load; per two of them one load; per weight and vector: one load, one fma.
// Error    at most γ(k + 1)·Σ|w||x| per output, k = stored weights in the row; summed in the order of columns.
// Source   Elsen et al., "Fast Sparse ConvNets", CVPR 2020.
#pragma once

#include "kernels/elementwise/activation.hpp"
#include "kernels/panel/panel.hpp"
#include "kernels/simd/simd.hpp"
#include "kernels/table.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

template <int kVectors>
[[gnu::always_inline]] inline void add_entry(Vec weight, const float* x_row, Vec (&sum)[kVectors]) {
  for (int v = 0; v < kVectors; ++v) sum[v] = fma(weight, load(x_row + v * kLanes), sum[v]);
  keep_order();
}

// Two weights come with one load: loads are what limits the loop.
template <int kVectors>
[[gnu::always_inline]] inline void add_pair(const TileEntry<1>* entry, const float* x, Vec (&sum)[kVectors]) {
  static_assert(sizeof(TileEntry<1>) == 2 * sizeof(float));  // offset, weight, offset, weight
  const Broadcast4 pair = load_broadcast4(reinterpret_cast<const float*>(entry));
  add_entry<kVectors>(splat_of<1>(pair), x + entry[0].offset, sum);
  add_entry<kVectors>(splat_of<3>(pair), x + entry[1].offset, sum);
}

// Asks for the weights that come kAhead bytes behind these, which may be past the last: a prefetch never faults. Hardware
// stops at each page, and a model's weights come from memory.
template <int height>
[[gnu::always_inline]] inline void ask_ahead(const TileEntry<height>* begin, const TileEntry<height>* end) {
  constexpr int64_t kAhead = 4096, kLineBytes = kLineFloats * static_cast<int64_t>(sizeof(float));
  const char* const ahead = reinterpret_cast<const char*>(begin) + kAhead;
  const int64_t bytes = reinterpret_cast<const char*>(end) - reinterpret_cast<const char*>(begin);
  for (int64_t byte = 0; byte < bytes; byte += kLineBytes) __builtin_prefetch(ahead + byte, 0, 2);
}

enum class Stores { plain, streams, places };

// A panel's vectors from `first` on into a row of y, without the columns between output rows. Unrolled, or the compiler would
// keep all sums in memory.
template <int kVectors>
[[gnu::always_inline]] inline void store_outputs(const PanelPlaces& p, int first, const Vec (&sum)[kVectors], float* row) {
  const uint32_t* const lanes = p.lanes + first * kLanes;
  const int32_t* const begins = p.begins + first;
  if (first + kVectors <= p.whole) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store(row + begins[v], pick(sum[v], lanes + v * kLanes));
    return;
  }
  float outputs[kVectors * kLanes];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) store(outputs + v * kLanes, pick(sum[v], lanes + v * kLanes));
  for (int v = 0; v < kVectors; ++v)
    copy_row(outputs + v * kLanes, row + begins[v], first + v < p.whole ? kLanes : p.outputs[first + v]);
}

template <int kVectors, Stores kStores = Stores::plain>
void spmm_columns(const SpmmArgs<1>& args, int first_column) {
  // In locals, because a store to y could change args for all the compiler knows.
  const SpmmArgs<1> a = args;
  const float* x = a.x + first_column;
  const float* sums = a.sums ? a.sums + first_column : nullptr;
  float* y = a.y + (kStores == Stores::places ? 0 : first_column);
  const int ahead_column = kStores == Stores::places ? a.places->begins[first_column / kLanes] : 0;
  const TileEntry<1>* entry = a.entries + a.strip_starts[0];
  for (uint32_t i = 0; i < a.strips; ++i) {
    const int64_t row = a.order[i];
    Vec sum[kVectors];
    if (sums) {
      for (int v = 0; v < kVectors; ++v) sum[v] = load(sums + row * a.sums_row_stride + v * kLanes);
    } else {
      for (int v = 0; v < kVectors; ++v) sum[v] = splat(0.0f);
    }
    if (a.bias)
      for (int v = 0; v < kVectors; ++v) sum[v] = add(sum[v], splat(a.bias[row]));
    if (kStores != Stores::streams && a.fetch_y) {  // may pass the end of y: a prefetch never faults
      const char* ahead = reinterpret_cast<const char*>(y + a.order[i + kStripsAhead] * a.y_row_stride + ahead_column);
      for (int byte = 0; byte <= kVectors * static_cast<int>(sizeof(Vec)); byte += 64) __builtin_prefetch(ahead + byte, 1);
    }
    const TileEntry<1>* end = a.entries + a.strip_starts[i + 1];
    if (a.from_afar) ask_ahead(entry, end);
    if ((end - entry) % 2 != 0) {
      add_entry<kVectors>(splat(entry->values[0]), x + entry->offset, sum);
      ++entry;
    }
    for (; entry != end; entry += 2) add_pair<kVectors>(entry, x, sum);
    activate(sum, a.activation);
    float* const y_row = y + row * a.y_row_stride;
    if constexpr (kStores == Stores::places) {
      store_outputs<kVectors>(*a.places, first_column / kLanes, sum, y_row);
    } else {
      for (int v = 0; v < kVectors; ++v) {
        float* const place = y_row + v * kLanes;
        kStores == Stores::streams ? stream(place, sum[v]) : store(place, sum[v]);
      }
    }
  }
}

// Past the caches, because nobody reads y before it has left them: its lines are then not read before they are overwritten.
void spmm_streaming(const SpmmArgs<1>& args) {
  constexpr int kAll = kTileColumns / kLanes, kVectors = kAll < 8 ? kAll : 8;
  for (int column = 0; column < kTileColumns; column += kVectors * kLanes)
    spmm_columns<kVectors, Stores::streams>(args, column);
  end_streams();
}

template <Stores kStores>
[[gnu::always_inline]] inline void spmm_all(const SpmmArgs<1>& args) {
  constexpr int kMaxVectors = 8;
  int column = 0;
  int vectors = static_cast<int>(args.width) / kLanes;
  for (; vectors > kMaxVectors; vectors -= kMaxVectors, column += kMaxVectors * kLanes)
    spmm_columns<kMaxVectors, kStores>(args, column);
  switch (vectors) {
    case 1: return spmm_columns<1, kStores>(args, column);
    case 2: return spmm_columns<2, kStores>(args, column);
    case 3: return spmm_columns<3, kStores>(args, column);
    case 4: return spmm_columns<4, kStores>(args, column);
    case 5: return spmm_columns<5, kStores>(args, column);
    case 6: return spmm_columns<6, kStores>(args, column);
    case 7: return spmm_columns<7, kStores>(args, column);
    case 8: return spmm_columns<8, kStores>(args, column);
    default: return;
  }
}

void spmm(const SpmmArgs<1>& args) {
  if (args.stream_y) return spmm_streaming(args);
  if constexpr (kPicks)
    if (args.places) return spmm_all<Stores::places>(args);
  spmm_all<Stores::plain>(args);
}

}  // namespace
}  // namespace sparse_engine::SPARSE_ENGINE_ISA
