// Every constant that depends on the machine, with its unit and how it was found. Values are those of two Zen 3 cores with 32
// KB, 512 KB and 32 MB of cache (docs/decisions/, numbers in brackets); what follows from a cache's size is computed from the
// caches found. What the code itself fixes, such as the width of a panel, stays where it is.
//
// No member that differs between machines decides an order of summation, so results are the same on all of them: what decides
// one is a static constant.
#pragma once

#include "base/caches.hpp"
#include "sparse_engine/types.hpp"

namespace sparse_engine {

// Teams of threads, and which of them are left out. Nanoseconds of a common kernel's scheduler [threading.md].
struct ThreadTuning {
  Index serial_below = 400'000;                             // multiply-adds: about 20 µs on one core, several starts of a team
  Index few_columns_worth = 4;                              // columns of a wide product that a weight costs in a skinny one
  int spins = 4096;                                         // before a waiting worker yields: some tens of µs
  Index short_time = 400'000;                               // less than a time slice, more than waking a thread takes
  Index least_pause = 4'000'000, most_pause = 256'000'000;  // that a worker without a core is left out for
  int watched_calls = 64;                                   // whose workers say what they lost, after a call that waited
};

// Work that a thread takes at a time in selection: long enough that taking it costs nothing. All are multiples of 8, so that no
// two tasks share a byte of a mask.
struct SelectionTuning {
  Index scores = Index{1} << 20;         // of a histogram, or of a mask applied: about a millisecond
  Index group_weights = Index{1} << 16;  // of a mask written group by group
  Index neighbourhoods = 4096;           // groups of n:m
};

// One column of x beyond the L1 cache, by blocks of columns [026].
struct CsrBlocksTuning {
  Index from_columns = 8192;        // 32 KB of x
  Index most_columns = 6144;        // of a block: 24 KB of x, weights stream through the rest
  Index least_per_row_block = 128;  // stored weights: below, the ends of rows cost more than the cache saves
};

// Sliced CSR or weights one by one; nanoseconds [027].
struct SlicedCsrTuning {
  double step = 0.9;                                 // of eight rows, zeros stored
  double packed_step = 1.45, packed_step16 = 1.15;   // zeros by a mask; of 16-bit values
  double more_column = 0.68;                         // of a step, for each column after the first
  double weight = 0.27, weight16 = 0.3;              // one by one, one column
  double cached_weight = 0.45, missed_weight = 0.5;  // more columns: x in the L1 cache, and what a miss adds
  double row = 4, row_of_more = 10;                  // its end: one column, more
  double cached_columns = 1024;                      // of eight floats, that the L1 cache holds
  double cached_bytes = 8 << 20;                     // a larger W comes from memory
  double byte_from_memory = 0.075;                   // 13 GB/s a core
};

// Steps of a session, whose workers look out for the next one and cost a microsecond to reach.
struct SessionTuning {
  int spins = 3000;                 // before a worker without a run sleeps: some tens of µs
  Index late = 100'000;             // nanoseconds after which a worker that was woken is asked about [064]
  Index serial_below = 60'000;      // multiply-adds, or floats read or written: about 3 µs
  Index least_columns_apart = 32;   // of a product of one image: fewer, and each weight is read for too few of them
  Index rows_together = 512;        // of calls that run at once: weights are read once for them, values stay in L3
  Index elementwise_floats = 8192;  // of a task: 32 KB, some µs
  Index activated_together = 4096;  // floats of planes that are activated when they are done: 16 KB, which stay in L1
  Index pool_channels = 8;          // of a task
  Index matmul_columns = 48;        // of a task: four vectors of 12 floats' sums, or three of 16; an odd number of lines
  Index attention_few_queries = 6;  // of a head, that read keys and values where they lie: 8 gain nothing [052]
  Index attention_rows = 16;        // whose scores lie in the L1 cache while softmax and V pass over them
};

// Time of a product relative to dense: wide · density + overhead of many columns; of few, (few · density + few_fixed) / 4, in
// bytes read for each dense weight's 4. Chosen so that the model alone decides about as timing would [010].
struct ProductCost {
  double wide, overhead, few, few_fixed;
};

struct Tuning {
  // Blocks of X in wide products [005, 015, 016]. Floats.
  Index block_floats = 8192;         // all of L1
  Index strip_block_floats = 32768;  // a quarter of L2: of X that four rows share; 32 KB lost 1.3× where few blocks are stored
  double dense_strips = 0.5;         // share of weights stored from which L1 serves strips better: 1.05–1.35× where all are
  // Share of weights stored from which a block takes 3/4 of block_floats, as it is, 3/2; below the last 3.
  double many_kept = 0.15, some_kept = 0.07, few_kept = 0.03;
  Index many_kept_rows = 512;                    // fewer rows use a block too seldom for it to be loaded that often
  Index tile_rows = 256;                         // × 64 floats of sums: an eighth of L2
  Index sorted_strips = 96, sorted_weights = 8;  // of a tile; weights a strip: from there on long rows come first [015]

  // Operands [004, 044]. Bytes.
  Index band_bytes = 320 << 10;         // 5/8 of L2: planes of a convolution that are read once for each row of the kernel
  Index near_bytes = 4 << 20;           // 8 L2: more of an operand is not in the cores' own caches
  Index kept_weights_bytes = 64 << 10;  // an eighth of L2: more of a layout has left it when it is read again
  Index matrix_bytes = 6 << 20;         // 3/16 of L3: more of a matrix that is read once a call comes from memory
  Index result_bytes = 16 << 20;        // half of L3: more of a result has left it when it is read

  // Rows of X read where they lie [006]: uses of each up to which copying costs more than it saves.
  Index in_place_uses = 16, in_place_uses_from_memory = 2;
  Index cache_sets = 64, lines_apart = 4;  // of L1; rows whose distance shares more of its factors with them collide

  // Share of weights stored, and weights that use each row of X, from which a convolution copies what lies across cache lines
  // [065].
  double copied_from = 0.15;
  Index copied_uses = 12;

  // Packing.
  Index pack_channels = 64;       // × 64 columns: half of L1, in which a transposition stays [008]
  Index zeroed_pitch = 32;        // floats: planes of rows up to so long are zeroed in one call, not two a row
  Index depthwise_channels = 16;  // a task's

  // Multiply-adds of a step of a recurrence from which threads share it, as they meet at its end: some 8 µs on one core.
  Index shared_step = 100'000;

  // Memory.
  Index huge_pages_from = 4 << 20;  // bytes: smaller arrays would waste up to half a page of 2 MB
  Index kept_buffers = 64;          // results kept for later: a look through them takes under a microsecond

  static constexpr ThreadTuning threads{};
  static constexpr SelectionTuning selection{};
  static constexpr CsrBlocksTuning csr_blocks{};
  static constexpr SlicedCsrTuning sliced_csr{};
  static constexpr SessionTuning session{};
  static constexpr ProductCost csr{.wide = 1.35, .overhead = 0.03, .few = 5.0, .few_fixed = 0};
  static constexpr ProductCost bitmask{.wide = 1.5, .overhead = 0.05, .few = 4.2, .few_fixed = 0.25};
  static constexpr ProductCost bsr_strips{.wide = 1.1, .overhead = 0.03, .few = 5.5, .few_fixed = 0};
  static constexpr ProductCost nm{.wide = 1.35, .overhead = 0.03, .few = 4.3, .few_fixed = 0};
};

// The defaults where `caches` are those above.
Tuning tuned_for(const Caches& caches);

const Tuning& tuning();            // of this machine, whose caches are read at the first call
void set_tuning(const Tuning& t);  // tests only, while nothing else runs

}  // namespace sparse_engine
