#include "base/caches.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <string>
#include <vector>

#include "reference_conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

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

TEST(Caches, OfThisMachineLieWithinReason) {
  EXPECT_GE(caches().level2, 128 << 10);
  EXPECT_GE(caches().level3, 4 << 20);
}

// A result is the same on every machine that runs the same instruction set.
TEST(Caches, ChangeNoBitOfAResult) {
  struct Case {
    ConvCase conv;
    double density;
  };
  const std::vector<Case> cases = {{same_size(3, 1, 1, 40, 60, 70, 30), 0.2},    // bands
                                   {same_size(1, 1, 2, 96, 56, 56, 64), 0.05},   // read where it lies, or packed
                                   {same_size(1, 1, 1, 16, 224, 224, 96), 0.3},  // large results
                                   {same_size(3, 2, 3, 24, 57, 57, 40), 0.3}};
  const Caches before = caches();
  std::uint64_t seed = 1;
  for (const Case& c : cases) {
    const Csr w = real_weights(c.conv.filters, c.conv.cols(), c.density, seed++).csr();
    const std::vector<float> x = reals(c.conv.inputs(), seed++);
    const Csr matrix = real_weights(300, 2000, 0.5, seed++).csr();
    const std::vector<float> operand = reals(2000 * 8, seed++);
    for_each_isa([&] {
      set_caches(before);
      const std::vector<float> image = convolved(c.conv, w, x), product = multiplied(matrix, operand, 8);
      for (const Caches& other : {Caches{128 << 10, 4 << 20}, Caches{4 << 20, 128 << 20}, Caches{1, 1}}) {
        set_caches(other);
        expect_same_bits(convolved(c.conv, w, x), image);
        expect_same_bits(multiplied(matrix, operand, 8), product);
      }
    });
  }
  set_caches(before);
}

}  // namespace
}  // namespace sparse_engine
