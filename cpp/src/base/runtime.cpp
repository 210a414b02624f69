#include "sparse_engine/runtime.hpp"

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "base/check.hpp"
#include "base/parallel.hpp"
#include "base/registry.hpp"

namespace sparse_engine {

// SPARSE_ENGINE_ISAS is X(name) for every add_isa() line of the build, weakest first.
#define X(name)               \
  namespace name {            \
  extern const Kernels table; \
  }
SPARSE_ENGINE_ISAS
#undef X

namespace {

const Kernels* const kTables[] = {
#define X(name) &name::table,
    SPARSE_ENGINE_ISAS
#undef X
};

// Processor and operating system both: the compiler's check includes the saved register state.
bool has_feature([[maybe_unused]] const char* feature) {
#if defined(__x86_64__)
#define SPARSE_ENGINE_FEATURE(word) \
  if (std::strcmp(feature, word) == 0) return __builtin_cpu_supports(word)
  SPARSE_ENGINE_FEATURE("sse4.2");
  SPARSE_ENGINE_FEATURE("popcnt");
  SPARSE_ENGINE_FEATURE("avx2");
  SPARSE_ENGINE_FEATURE("fma");
#if !defined(__clang__) || __clang_major__ >= 19
  SPARSE_ENGINE_FEATURE("f16c");
#else
  if (std::strcmp(feature, "f16c") == 0) return __builtin_cpu_supports("avx2");  // every AVX2 processor has it
#endif
  SPARSE_ENGINE_FEATURE("bmi2");
  SPARSE_ENGINE_FEATURE("avx512f");
  SPARSE_ENGINE_FEATURE("avx512bw");
  SPARSE_ENGINE_FEATURE("avx512dq");
  SPARSE_ENGINE_FEATURE("avx512vl");
#undef SPARSE_ENGINE_FEATURE
#endif
  return false;
}

bool runs_here(const Kernels& table) {
  for (const char* const* need = table.needs; *need != nullptr; ++need)
    if (!has_feature(*need)) return false;
  return true;
}

std::string names(bool only_supported) {
  std::string joined;
  for (const Kernels* table : kTables)
    if (!only_supported || runs_here(*table)) joined += (joined.empty() ? "" : ", ") + std::string(table->name);
  return joined;
}

const Kernels* find(std::string_view name, const char* source) {
  for (const Kernels* table : kTables) {
    if (name != table->name) continue;
    check(runs_here(*table), source, " = '", name, "' needs instructions this processor lacks; it can run: ", names(true));
    return table;
  }
  check(false, source, " = '", name, "' is not one of: ", names(false));
  return nullptr;
}

const Kernels* initial() {
  if (const char* forced = std::getenv("SPARSE_ENGINE_ISA"); forced != nullptr && *forced != '\0')
    return find(forced, "SPARSE_ENGINE_ISA");
  const Kernels* best = kTables[0];
  for (const Kernels* table : kTables)
    if (runs_here(*table)) best = table;
  check(runs_here(*best), "this processor lacks the instructions of the weakest kernels ('", best->name,
        "'): x86-64-v2 or aarch64 is required");
  return best;
}

bool fuses(const Kernels& table) {
  for (const char* const* need = table.needs; *need != nullptr; ++need)
    if (std::strcmp(*need, "fma") == 0) return true;
  return false;
}

// Whether somebody chose the instruction set.
std::atomic<bool>& forced() {
  static std::atomic<bool> is{[] {
    const char* text = std::getenv("SPARSE_ENGINE_ISA");
    return text != nullptr && *text != '\0';
  }()};
  return is;
}

std::atomic<const Kernels*>& chosen() {
  static std::atomic<const Kernels*> table{initial()};
  return table;
}

int threads_from_environment() {
  const char* text = std::getenv("SPARSE_ENGINE_NUM_THREADS");
  if (text == nullptr || *text == '\0') return 0;
  int n = 0;
  const char* const end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, n);
  check(error == std::errc() && stop == end && n >= 1 && n <= 4096, "SPARSE_ENGINE_NUM_THREADS = '", text,
        "' is not a number of threads in [1, 4096]");
  return n;
}

std::atomic<int>& fixed_threads() {
  static std::atomic<int> threads{threads_from_environment()};
  return threads;
}

}  // namespace

const Kernels& kernels() { return *chosen().load(std::memory_order_acquire); }

const Kernels* narrower_kernels(const Kernels& table) {
  if (forced().load(std::memory_order_relaxed)) return nullptr;
  for (const Kernels* other : kTables)
    if (other->lanes * 2 == table.lanes && fuses(*other) == fuses(table) && runs_here(*other)) return other;
  return nullptr;
}

std::string_view isa() { return kernels().name; }

std::vector<std::string> supported_isas() {
  std::vector<std::string> supported;
  for (const Kernels* table : kTables)
    if (runs_here(*table)) supported.emplace_back(table->name);
  return supported;
}

void set_isa(std::string_view name) {
  const Kernels* const table = find(name, "isa");
  forced().store(true, std::memory_order_relaxed);
  chosen().store(table, std::memory_order_release);
}

int num_threads() {
  const int fixed = fixed_threads().load(std::memory_order_relaxed);
  return fixed > 0 ? fixed : parallel::default_threads();
}

void set_num_threads(int n) {
  check(n >= 0 && n <= 4096, "num_threads = ", n, " is outside [0, 4096]; 0 returns to the default");
  fixed_threads().store(n == 0 ? threads_from_environment() : n, std::memory_order_relaxed);
}

std::string_view thread_backend() { return parallel::kBackend; }

}  // namespace sparse_engine
