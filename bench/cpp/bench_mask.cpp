// Exact selection and mask application, against the time of reading the weights once per pass.
#include <vector>

#include "cases.hpp"
#include "sparse_engine/mask.hpp"

namespace {

void keep_largest(benchmark::State& state) {
  const std::int64_t count = state.range(0);
  const auto scores = bench::normal(count, 1);
  const auto keep = static_cast<std::uint64_t>(count / 10);
  std::vector<std::uint8_t> bits(sparse_engine::mask_bytes(count));
  const auto run = [&] { sparse_engine::keep_largest(scores, keep, bits); };
  run();
  if (sparse_engine::count_kept(bits, count) != keep) return state.SkipWithError("not exactly `keep` kept");
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * count * 4);
}

void apply_mask(benchmark::State& state) {
  const std::int64_t count = state.range(0);
  const auto original = bench::normal(count, 1);
  auto weights = original;
  std::vector<std::uint8_t> bits(sparse_engine::mask_bytes(count), 0x11);
  sparse_engine::apply_mask(bits, weights.data(), count, sizeof(float));
  for (std::int64_t i = 0; i < count; ++i)
    if (weights[i] != (i % 4 == 0 ? original[i] : 0.0f)) return state.SkipWithError("wrong weights removed");
  for (auto _ : state) {
    sparse_engine::apply_mask(bits, weights.data(), count, sizeof(float));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * count * 4);
}

BENCHMARK(keep_largest)->Arg(1 << 16)->Arg(1 << 20)->Arg(1 << 24)->UseRealTime()->Unit(benchmark::kMicrosecond);
BENCHMARK(apply_mask)->Arg(1 << 16)->Arg(1 << 20)->Arg(1 << 24)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
