// Arrays as large as a matrix: from some megabytes on they begin at a huge page and ask for such, because a product that reads
// W once spends up to a quarter of its time on translating addresses of small ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <vector>

namespace sparse_engine {

void* allocate_array(std::size_t bytes);  // throws std::bad_alloc
void free_array(void* array) noexcept;

template <class T>
struct ArrayAllocator {
  using value_type = T;
  ArrayAllocator() = default;
  template <class U>
  ArrayAllocator(const ArrayAllocator<U>&) noexcept {}
  T* allocate(std::size_t count) {
    if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_array_new_length();
    return static_cast<T*>(allocate_array(count * sizeof(T)));
  }
  void deallocate(T* array, std::size_t) noexcept { free_array(array); }
  bool operator==(const ArrayAllocator&) const = default;
};

template <class T>
using Array = std::vector<T, ArrayAllocator<T>>;

template <class T, class Allocator>
std::int64_t bytes_of(const std::vector<T, Allocator>& v) {
  return static_cast<std::int64_t>(v.capacity() * sizeof(T));
}

}  // namespace sparse_engine
