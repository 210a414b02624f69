// The only translation unit of the kernels, compiled once per instruction set with SPARSE_ENGINE_ISA set to its name.
#include "kernels/table.hpp"

#include "kernels/simd/simd.hpp"
//
#include "kernels/depthwise/depthwise.hpp"
#include "kernels/elementwise/activation.hpp"
#include "kernels/elementwise/binary.hpp"
#include "kernels/gemm/dot_rows.hpp"
#include "kernels/gemm/gemm.hpp"
#include "kernels/gemv/bitmask.hpp"
#include "kernels/gemv/bsr.hpp"
#include "kernels/gemv/csr.hpp"
#include "kernels/gemv/csr_sliced.hpp"
#include "kernels/gemv/epilogue.hpp"
#include "kernels/gemv/nm.hpp"
#include "kernels/panel/panel.hpp"
#include "kernels/pool/pool.hpp"
#include "kernels/recurrent/recurrent.hpp"
#include "kernels/resize/resize.hpp"
#include "kernels/rows/rows.hpp"
#include "kernels/select/mask.hpp"
#include "kernels/select/mask_apply.hpp"
#include "kernels/spmm/spmm.hpp"
#include "kernels/spmm/strips.hpp"

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

// A kernel for several types, to be converted to a pointer for one. Not a lambda: outside of functions these are weak symbols.
#define KERNEL(kernel, result, arguments)
#define KERNEL_FOR(kernel, types, result, arguments) \
  struct kernel##_entry {                            \
    template <class Pointer>                         \
    constexpr operator Pointer() const {             \
      return kernel;                                 \
    }                                                \
  };
#include "kernels/kernels.inc"
#undef KERNEL
#undef KERNEL_FOR

}  // namespace

extern const Kernels table;
constinit const Kernels table = {
    SPARSE_ENGINE_TEXT(SPARSE_ENGINE_ISA),
    kNeeds,
    kLanes,
#define KERNEL(kernel, result, arguments) &kernel,
#define KERNEL_FOR(kernel, types, result, arguments) decltype(Kernels::kernel)(kernel##_entry{}),
#include "kernels/kernels.inc"
#undef KERNEL
#undef KERNEL_FOR
};

}  // namespace sparse_engine::SPARSE_ENGINE_ISA
