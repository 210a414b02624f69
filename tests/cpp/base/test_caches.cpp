#include "base/caches.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <string>

namespace sparse_engine {
namespace {

void write(const std::string& path, const std::string& text) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  ASSERT_NE(file, nullptr) << path;
  std::fputs((text + "\n").c_str(), file);
  std::fclose(file);
}

// A directory as the kernel makes it, of one cache.
std::string described(const std::string& index, const std::string& level, const std::string& type, const std::string& size) {
  const std::string directory = testing::TempDir() + "caches_" + level + type + size, cache = directory + "/index" + index;
  mkdir(directory.c_str(), 0700);
  mkdir(cache.c_str(), 0700);
  write(cache + "/level", level);
  write(cache + "/type", type);
  write(cache + "/size", size);
  return directory;
}

TEST(Caches, AreReadAsTheKernelDescribesThem) {
  EXPECT_EQ(read_caches(described("2", "2", "Unified", "2048K")).level2, 2 << 20);
  EXPECT_EQ(read_caches(described("2", "2", "Unified", "1M")).level2, 1 << 20);
  EXPECT_EQ(read_caches(described("0", "2", "Data", "262144")).level2, 256 << 10);
  EXPECT_EQ(read_caches(described("0", "1", "Data", "48K")).level1, 48 << 10);
  EXPECT_EQ(read_caches(described("1", "1", "Instruction", "64K")).level1, Caches{}.level1);
  EXPECT_EQ(read_caches(described("3", "3", "Unified", "98304K")).level3, 96 << 20);
  EXPECT_EQ(read_caches(described("3", "3", "Unified", "300M")).level3, 128 << 20) << "shared with others we do not see";
}

TEST(Caches, AreGuessedWhereNothingUsefulIsSaid) {
  const Caches guess;
  EXPECT_EQ(read_caches("/no/such/directory").level2, guess.level2);
  for (const char* size : {"", "K", "-4K", "many", "1024X", "99999999999999999999K", "0K"})
    EXPECT_EQ(read_caches(described("2", "2", "Unified", size)).level2, guess.level2) << size;
  EXPECT_EQ(read_caches(described("1", "2", "Instruction", "2048K")).level2, guess.level2);
  EXPECT_EQ(read_caches(described("2", "2", "Unified", "1K")).level2, 128 << 10) << "a size to compute with";
}

}  // namespace
}  // namespace sparse_engine
