// Whether bytes are still what they were, at the speed of memory.
#pragma once

#include <cstdint>
#include <span>

namespace sparse_engine {

// 64 bits of the bytes and their order. Not a cryptographic hash: it tells accidental changes, one of up to eight aligned
// bytes for certain, others but for one in 2^64.
std::uint64_t fingerprint(std::span<const std::byte> bytes);

}  // namespace sparse_engine
