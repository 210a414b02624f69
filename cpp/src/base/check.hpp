// Validation: one way to refuse an argument, and arithmetic on sizes that cannot wrap.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sparse_engine {

// One part of a message. Never by streams: they format by the global locale, which the program around us may have changed, and
// find its facets by ids that exist twice in a process where somebody linked libstdc++ statically.
inline void append(std::string& message, std::string_view part) { message += part; }

template <class Number>
  requires std::integral<Number> || std::floating_point<Number>
void append(std::string& message, Number number) {
  char digits[64];  // the shortest decimal that reads back as the same double has at most 24
  message.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

// Throws std::invalid_argument with the parts joined when `ok` is false; the message is only built then.
template <class... Parts>
void check(bool ok, const Parts&... parts) {
  if (ok) [[likely]]
    return;
  std::string message;
  (append(message, parts), ...);
  throw std::invalid_argument(message);
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
