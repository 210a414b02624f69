// What this machine can do at most, measured by the binary that quotes shares of it, and anew for every run: what others leave
// of a shared processor changes within seconds.
#pragma once

#include <cstdint>

namespace bench {

// GFLOP/s of independent fused multiply-adds on `threads` threads.
double fma_gflops(int threads);

// GB/s of reading as many bytes, down to a power of two, over and over on `threads` threads.
double read_gbytes(std::int64_t bytes, int threads);

// Seconds below which W · X cannot be done: arithmetic, loads of X into registers (one per vector for every `sharing_rows`
// stored weights, two a cycle, and one splat per weight), or one pass over W, X and Y at the bandwidth of the level they fit
// in.
double least_seconds(std::int64_t nnz, std::int64_t columns, std::int64_t bytes, int threads, int sharing_rows);

}  // namespace bench
