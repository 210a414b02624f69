// Instruction set and threads of this process.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sparse_engine {

// Name of the kernels in use: "baseline", "avx2", "avx512" on x86-64, "neon" on aarch64. The strongest that run here, unless
// SPARSE_ENGINE_ISA in the environment names others.
std::string_view isa();

// Those this processor and operating system can run, weakest first.
std::vector<std::string> supported_isas();

// Chooses the kernels from now on. Throws std::invalid_argument for one that is unknown or that this machine lacks.
void set_isa(std::string_view name);

// Threads a call may use: the number set here, else SPARSE_ENGINE_NUM_THREADS, else what OpenMP would take (torch's setting,
// when torch shares the runtime).
int num_threads();

// n >= 1 fixes the number, 0 returns to the default. Throws std::invalid_argument for a negative n.
void set_num_threads(int n);

std::string_view thread_backend();  // "openmp" or "std"

}  // namespace sparse_engine
