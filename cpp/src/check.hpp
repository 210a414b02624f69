// Validation: one way to refuse an argument, and arithmetic on sizes that cannot wrap.
#pragma once

#include <cstdint>
#include <span>
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

// Row starts of a compressed format: from 0 to `count`, never decreasing, one more than there are rows.
inline void check_starts(std::span<const std::int64_t> starts, std::int64_t count, const char* counted) {
  check(starts.front() == 0, "indptr[0] = ", starts.front(), "; it must be 0");
  for (std::size_t row = 0; row + 1 < starts.size(); ++row)
    check(starts[row] <= starts[row + 1], "indptr[", row + 1, "] = ", starts[row + 1], " is less than indptr[", row,
          "] = ", starts[row], "; it must never decrease");
  check(starts.back() == count, "indptr[", starts.size() - 1, "] = ", starts.back(), " but there are ", count, " ", counted,
        "; they must be equal");
}

}  // namespace sparse_engine
