// Validation: one way to refuse an argument, and arithmetic on sizes that cannot wrap.
#pragma once

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

namespace sparse_engine {

// Throws std::invalid_argument with the parts joined when `ok` is false; the message is only built then.
template <class... Parts>
void check(bool ok, const Parts&... parts) {
  if (ok) [[likely]]
    return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

inline std::int64_t checked_mul(std::int64_t a, std::int64_t b, const char* what) {
  std::int64_t product;
  check(!__builtin_mul_overflow(a, b, &product), what, ": ", a, " × ", b, " does not fit 63 bits");
  return product;
}

inline std::int64_t checked_add(std::int64_t a, std::int64_t b, const char* what) {
  std::int64_t sum;
  check(!__builtin_add_overflow(a, b, &sum), what, ": ", a, " + ", b, " does not fit 63 bits");
  return sum;
}

}  // namespace sparse_engine
