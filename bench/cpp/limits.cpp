#include "limits.hpp"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace bench {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
constexpr int kChains = 10;  // two pipes of latency four or five
constexpr int kTries = 5;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

double fma_gflops(int threads) {
  constexpr std::int64_t kSteps = 4'000'000;
  double best = 0;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    float sink = 0;
    const double start = now();
#pragma omp parallel num_threads(threads) reduction(+ : sink)
    {
      // All different, or the compiler keeps one chain for all.
      Vec a0 = Vec{} + 1.0f, a1 = a0 + 1, a2 = a0 + 2, a3 = a0 + 3, a4 = a0 + 4, a5 = a0 + 5, a6 = a0 + 6, a7 = a0 + 7,
          a8 = a0 + 8, a9 = a0 + 9;
      Vec factor = Vec{} + 0.999f;
      for (std::int64_t i = 0; i < kSteps; ++i) {
        __asm__ volatile("" : "+x"(factor));
        a0 = a0 * factor + factor, a1 = a1 * factor + factor, a2 = a2 * factor + factor, a3 = a3 * factor + factor;
        a4 = a4 * factor + factor, a5 = a5 * factor + factor, a6 = a6 * factor + factor, a7 = a7 * factor + factor;
        a8 = a8 * factor + factor, a9 = a9 * factor + factor;
      }
      const Vec sum = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9;
      sink += sum[0];
    }
    const double seconds = now() - start;
    if (sink != 0) best = std::max(best, 2e-9 * kSteps * kChains * kLanes * threads / seconds);
  }
  return best;
}

double read_gbytes(std::int64_t bytes, int threads) {
  std::int64_t size = 64 * 1024;
  while (size * 2 <= bytes && size < (std::int64_t{1} << 27)) size *= 2;
  const std::int64_t vectors = size / static_cast<std::int64_t>(sizeof(Vec));
  struct Aligned {
    Vec* data;
    explicit Aligned(std::int64_t count) : data(static_cast<Vec*>(::operator new(count * sizeof(Vec), std::align_val_t{64}))) {}
    ~Aligned() { ::operator delete(data, std::align_val_t{64}); }
  } buffer(vectors);
  std::fill_n(buffer.data, vectors, Vec{} + 1.0f);
  const std::int64_t passes = std::max<std::int64_t>(2, (std::int64_t{1} << 27) / size);
  double best = 0;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    float sink = 0;
    const double start = now();
#pragma omp parallel num_threads(threads) reduction(+ : sink)
    {
      const std::int64_t share = vectors / threads / 8 * 8;
      const Vec* first = buffer.data + share * omp_get_thread_num();
      Vec a0{}, a1{}, a2{}, a3{}, a4{}, a5{}, a6{}, a7{};
      for (std::int64_t pass = 0; pass < passes; ++pass) {
        for (std::int64_t i = 0; i < share; i += 8) {
          a0 += first[i], a1 += first[i + 1], a2 += first[i + 2], a3 += first[i + 3];
          a4 += first[i + 4], a5 += first[i + 5], a6 += first[i + 6], a7 += first[i + 7];
        }
        __asm__ volatile("" ::: "memory");
      }
      const Vec sum = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7;
      sink += sum[0];
    }
    const double seconds = now() - start;
    if (sink != 0) best = std::max(best, 1e-9 * static_cast<double>(size * passes) / seconds);
  }
  return best;
}

double least_seconds(std::int64_t nnz, std::int64_t columns, std::int64_t bytes, int threads, int sharing_rows) {
  const double peak = fma_gflops(threads) * 1e9;
  const double arithmetic = 2.0 * static_cast<double>(nnz) * static_cast<double>(columns) / peak;
  // Two fused multiply-adds a cycle and two loads a cycle: the loads of one vector take as long as its arithmetic. Eight sums
  // fit the registers, so a splat serves 8 / sharing_rows vectors.
  const double loads = columns == 1 ? 0.0
                                    : static_cast<double>(nnz) * static_cast<double>((columns + kLanes - 1) / kLanes) *
                                          (1.0 / sharing_rows + sharing_rows / 8.0) * 2 * kLanes / peak;
  const double traffic = static_cast<double>(bytes) / (read_gbytes(bytes, threads) * 1e9);
  return std::max({arithmetic, loads, traffic});
}

}  // namespace bench
