#include "sparse_engine/fingerprint.hpp"

#include <array>
#include <cstring>

namespace sparse_engine {
namespace {

// Odd, so that a product tells its factors apart; the fractional bits of the golden ratio.
constexpr std::uint64_t kMultiplier = 0x9e3779b97f4a7c15u;
constexpr std::size_t kLanes = 8;  // independent, so that the latency of a multiplication is hidden

constexpr std::uint64_t mixed(std::uint64_t state, std::uint64_t word) {
  const std::uint64_t product = (state ^ word) * kMultiplier;
  return product ^ (product >> 29);
}

}  // namespace

std::uint64_t fingerprint(std::span<const std::byte> bytes) {
  std::array<std::uint64_t, kLanes> lanes{};
  for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = mixed(lane + 1, bytes.size());
  std::size_t at = 0;
  for (; at + sizeof lanes <= bytes.size(); at += sizeof lanes) {
    std::array<std::uint64_t, kLanes> words;
    std::memcpy(words.data(), bytes.data() + at, sizeof words);
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = mixed(lanes[lane], words[lane]);
  }
  std::array<std::uint64_t, kLanes> rest{};
  if (at < bytes.size()) std::memcpy(rest.data(), bytes.data() + at, bytes.size() - at);
  std::uint64_t result = 0;
  for (std::size_t lane = 0; lane < kLanes; ++lane) result = mixed(result, mixed(lanes[lane], rest[lane]));
  return result;
}

}  // namespace sparse_engine
