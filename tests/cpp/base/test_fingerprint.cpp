#include "sparse_engine/fingerprint.hpp"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace sparse_engine {
namespace {

TEST(Fingerprint, TellsEveryBitOfEveryByteAndTheLength) {
  for (const std::size_t size : {1u, 7u, 8u, 63u, 64u, 65u, 200u}) {
    std::vector<std::byte> bytes(size, std::byte{0x5a});
    std::set<std::uint64_t> seen{fingerprint(bytes)};
    for (std::size_t at = 0; at < size; ++at)
      for (int bit = 0; bit < 8; ++bit) {
        bytes[at] ^= static_cast<std::byte>(1 << bit);
        seen.insert(fingerprint(bytes));
        bytes[at] ^= static_cast<std::byte>(1 << bit);
      }
    EXPECT_EQ(seen.size(), 8 * size + 1);
    bytes.push_back(std::byte{0});
    EXPECT_EQ(seen.count(fingerprint(bytes)), 0u);
  }
}

TEST(Fingerprint, TellsWordsThatChangedPlaces) {
  std::vector<std::byte> bytes(256);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 37);
  const std::uint64_t before = fingerprint(bytes);
  for (const std::size_t apart : {8u, 64u, 128u}) {
    for (std::size_t i = 0; i < 8; ++i) std::swap(bytes[i], bytes[i + apart]);
    EXPECT_NE(fingerprint(bytes), before) << apart;
    for (std::size_t i = 0; i < 8; ++i) std::swap(bytes[i], bytes[i + apart]);
  }
  EXPECT_EQ(fingerprint(bytes), before);
}

}  // namespace
}  // namespace sparse_engine
