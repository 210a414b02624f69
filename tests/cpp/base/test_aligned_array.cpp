// Arrays as large as a matrix: aligned, of any size, and refused where memory cannot hold them.
#include "base/aligned_array.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>

namespace sparse_engine {
namespace {

std::uintptr_t address(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

TEST(AlignedArray, BeginsAtACacheLineAndFromSomeMegabytesOnAtAHugePage) {
  constexpr std::size_t kMegabyte = std::size_t{1} << 20;
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{65}, kMegabyte,
                                  4 * kMegabyte - 1, 4 * kMegabyte, 4 * kMegabyte + 1, 9 * kMegabyte}) {
    void* const array = allocate_array(bytes);
    ASSERT_NE(array, nullptr);
    EXPECT_EQ(address(array) % 64, 0u) << bytes;
    if (bytes >= 4 * kMegabyte) {
      EXPECT_EQ(address(array) % (2 * kMegabyte), 0u) << bytes;
    }
    std::memset(array, 0x5a, bytes);  // all of it is there: a sanitizer watches
    free_array(array);
  }
  free_array(nullptr);
}

TEST(AlignedArray, RefusesANumberOfElementsWhoseBytesWrap) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  EXPECT_THROW(ArrayAllocator<double>().allocate(kMost / 8 + 1), std::bad_alloc);
  EXPECT_THROW(ArrayAllocator<double>().allocate(kMost / 8 + 9), std::bad_alloc) << "which would be 64 bytes";
  EXPECT_THROW(ArrayAllocator<std::uint16_t>().allocate(kMost), std::bad_alloc);
}

TEST(AlignedArray, RefusesWhatMemoryCannotHold) {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
#if !defined(SPARSE_ENGINE_TEST_SANITIZED)  // which ends the process where this much is asked for
  EXPECT_THROW(allocate_array(kMost / 2), std::bad_alloc);
#endif
  for (const std::size_t less : {std::size_t{0}, std::size_t{1}, std::size_t{63}, std::size_t{1} << 20})
    EXPECT_THROW(allocate_array(kMost - less), std::bad_alloc) << "rounding up must not wrap";
}

TEST(AlignedArray, IsAVectorThatGrowsCopiesAndMoves) {
  Array<std::uint16_t> a(3, 7);
  for (int i = 0; i < 100'000; ++i) a.push_back(static_cast<std::uint16_t>(i));
  EXPECT_EQ(address(a.data()) % 64, 0u);
  Array<std::uint16_t> copy = a;
  EXPECT_NE(copy.data(), a.data());
  EXPECT_EQ(copy, a);
  const std::uint16_t* const data = a.data();
  const Array<std::uint16_t> moved = std::move(a);
  EXPECT_EQ(moved.data(), data) << "any allocator frees what another one made";
  EXPECT_EQ(moved[3 + 65'535], 65'535);
}

TEST(AlignedArray, CountsTheBytesThatAreHeldNotThoseInUse) {
  Array<double> a;
  EXPECT_EQ(bytes_of(a), 0);
  a.reserve(100);
  a.push_back(1);
  EXPECT_EQ(bytes_of(a), static_cast<std::int64_t>(a.capacity() * sizeof(double)));
  EXPECT_GE(bytes_of(a), 800);
  EXPECT_EQ(bytes_of(std::vector<char>()), 0);
}

}  // namespace
}  // namespace sparse_engine
