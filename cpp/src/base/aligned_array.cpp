#include "base/aligned_array.hpp"

#include <cstdlib>
#include <limits>
#include <new>

#include "base/tuning.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace sparse_engine {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

void* allocate_array(std::size_t bytes) {
  const std::size_t unit = bytes < static_cast<std::size_t>(tuning().huge_pages_from) ? 64 : kHugePage;
  if (bytes > std::numeric_limits<std::size_t>::max() - unit) throw std::bad_alloc();
  const std::size_t whole = (bytes + unit - 1) / unit * unit;
  void* array = std::aligned_alloc(unit, whole == 0 ? unit : whole);
  if (array == nullptr) throw std::bad_alloc();
#if defined(__linux__)
  if (unit == kHugePage) madvise(array, whole, MADV_HUGEPAGE);  // a wish: without it the array is as good, only slower
#endif
  return array;
}

void free_array(void* array) noexcept { std::free(array); }

}  // namespace sparse_engine
