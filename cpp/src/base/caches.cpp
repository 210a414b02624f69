#include "base/caches.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <string_view>

namespace sparse_engine {
namespace {

// The first line of a file, empty when there is none. Not by streams: check.hpp says why.
std::string line_of(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  char text[32];
  if (!file || std::fgets(text, sizeof text, file.get()) == nullptr) return {};
  const std::string line(text);
  return line.substr(0, line.find('\n'));
}

// "1024K" in bytes, 0 for what is no size.
Index size_in(std::string_view text) {
  Index count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  const int shift = unit == "" ? 0 : unit == "K" ? 10 : unit == "M" ? 20 : -1;
  return error != std::errc() || shift < 0 || count < 0 || count > Index{1} << 40 ? 0 : count << shift;
}

}  // namespace

Caches read_caches(const std::string& directory) {
  // Sizes to compute with, whatever is announced.
  constexpr Index kLeast1 = 16 << 10, kLeast2 = 128 << 10, kLeast3 = 4 << 20;
  constexpr Index kMost1 = 256 << 10, kMost2 = 4 << 20, kMost3 = 128 << 20;
  Caches caches;
  for (const char* index : {"/index0/", "/index1/", "/index2/", "/index3/", "/index4/"}) {
    const std::string level = line_of(directory + index + "level"), type = line_of(directory + index + "type");
    const Index size = size_in(line_of(directory + index + "size"));
    if (size == 0 || type == "Instruction") continue;
    if (level == "1") caches.level1 = std::clamp(size, kLeast1, kMost1);
    if (level == "2") caches.level2 = std::clamp(size, kLeast2, kMost2);
    if (level == "3") caches.level3 = std::clamp(size, kLeast3, kMost3);
  }
  return caches;
}

}  // namespace sparse_engine
