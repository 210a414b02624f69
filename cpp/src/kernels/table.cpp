// The only translation unit of the kernels, compiled once per instruction set with SPARSE_ENGINE_ISA set to its name.
#include "table.hpp"

#include "simd.hpp"
//
#include "activation.hpp"
#include "bitmask_gemv.hpp"
#include "bsr_gemv.hpp"
#include "csr_gemv.hpp"
#include "csr_windows.hpp"
#include "mask.hpp"
#include "mask_apply.hpp"
#include "narrow.hpp"
#include "nm_gemv.hpp"
#include "panel.hpp"
#include "recurrent.hpp"
#include "spmm.hpp"
#include "spmm_strips.hpp"

#define SPARSE_ENGINE_TEXT_(word) #word
#define SPARSE_ENGINE_TEXT(word) SPARSE_ENGINE_TEXT_(word)

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

constexpr const char* kNeeds[] = {
#ifdef __SSE4_2__
    "sse4.2",
#endif
#ifdef __POPCNT__
    "popcnt",
#endif
#ifdef __AVX2__
    "avx2",
#endif
#ifdef __FMA__
    "fma",
#endif
#ifdef __F16C__
    "f16c",
#endif
#ifdef __BMI2__
    "bmi2",
#endif
#ifdef __AVX512F__
    "avx512f",
#endif
#ifdef __AVX512BW__
    "avx512bw",
#endif
#ifdef __AVX512DQ__
    "avx512dq",
#endif
#ifdef __AVX512VL__
    "avx512vl",
#endif
    nullptr,
};

}  // namespace

extern const Kernels table;
constinit const Kernels table = {
    SPARSE_ENGINE_TEXT(SPARSE_ENGINE_ISA),
    kNeeds,
    kLanes,
#define KERNEL(kernel, result, arguments) &kernel,
#include "kernels.inc"
#undef KERNEL
};

}  // namespace sparse_engine::SPARSE_ENGINE_ISA
