// What follows from the sizes of caches: today's constants on the machine they were measured on, more or less elsewhere, and
// the same bits of every result.
#include "base/tuning.hpp"

#include "reference_conv.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Tuning, OfZen3IsWhatWasMeasuredThereAndSoIsThatOfAMachineThatSaysNothing) {
  const Caches zen3{.level1 = 32 << 10, .level2 = 512 << 10, .level3 = 32 << 20};
  for (const Tuning& t : {tuned_for(zen3), tuned_for(read_caches("/no/such/directory")), Tuning{}}) {
    EXPECT_EQ(t.block_floats, 8192);
    EXPECT_EQ(t.strip_block_floats, 32768);
    EXPECT_EQ(t.tile_rows, 256);
    EXPECT_EQ(t.band_bytes, 320 << 10);
    EXPECT_EQ(t.kept_weights_bytes, 64 << 10);
    EXPECT_EQ(t.near_bytes, 4 << 20);
    EXPECT_EQ(t.matrix_bytes, 6 << 20);
    EXPECT_EQ(t.result_bytes, 16 << 20);
    EXPECT_EQ(t.pack_channels, 64);
  }
}

TEST(Tuning, OfAServerWithLargeCachesGrowsWithThem) {
  const Tuning t = tuned_for({.level1 = 48 << 10, .level2 = 2 << 20, .level3 = 128 << 20});  // 300 MB, of which 128 count
  EXPECT_EQ(t.block_floats, 12288);
  EXPECT_EQ(t.strip_block_floats, 128 << 10);
  EXPECT_EQ(t.tile_rows, 256) << "a place within a tile fits a byte";
  EXPECT_EQ(t.band_bytes, 1280 << 10);
  EXPECT_EQ(t.near_bytes, 16 << 20);
  EXPECT_EQ(t.matrix_bytes, 24 << 20);
  EXPECT_EQ(t.result_bytes, 64 << 20);
  EXPECT_EQ(t.pack_channels, 96);
}

TEST(Tuning, OfTinyCachesCanStillBeComputedWith) {
  const Tuning t = tuned_for({1, 1, 1});
  EXPECT_GE(t.block_floats, 1);
  EXPECT_GE(t.strip_block_floats, 1);
  EXPECT_GE(t.pack_channels, 1);
  EXPECT_EQ(t.tile_rows, 32);
}

TEST(Tuning, OfThisMachineLiesWithinReason) {
  EXPECT_GE(tuning().block_floats, 4096);
  EXPECT_GE(tuning().near_bytes, 1 << 20);
  EXPECT_GE(tuning().result_bytes, 2 << 20);
}

// A result is the same on every machine that runs the same instruction set.
TEST(Tuning, ChangesNoBitOfAResult) {
  struct Case {
    ConvCase conv;
    double density;
  };
  const std::vector<Case> cases = {{same_size(3, 1, 1, 40, 60, 70, 30), 0.2},    // bands
                                   {same_size(1, 1, 2, 96, 56, 56, 64), 0.05},   // read where it lies, or packed
                                   {same_size(1, 1, 1, 16, 224, 224, 96), 0.3},  // large results
                                   {same_size(3, 2, 3, 24, 57, 57, 40), 0.3}};
  const Tuning before = tuning();
  std::uint64_t seed = 1;
  for (const Case& c : cases) {
    const Weights weights = real_weights(c.conv.filters, c.conv.cols(), c.density, seed++);
    const std::vector<float> x = reals(c.conv.inputs(), seed++);
    const Weights wide = real_weights(300, 2000, c.density, seed++);
    const std::vector<float> operand = reals(2000 * 70, seed++);
    for_each_isa([&] {
      std::vector<float> image, few, many;
      for (const Tuning& t : {before, tuned_for({}), tuned_for({16 << 10, 128 << 10, 4 << 20}),
                              tuned_for({256 << 10, 4 << 20, 128 << 20}), tuned_for({1, 1, 1})}) {
        set_tuning(t);
        const Csr w = weights.csr(), matrix = wide.csr();  // anew: plans are kept with a matrix
        const std::vector<float> eight(operand.begin(), operand.begin() + 2000 * 8);
        const std::vector<float> here[] = {convolved(c.conv, w, x), multiplied(matrix, eight, 8),
                                           multiplied(matrix, operand, 70)};
        if (image.empty()) image = here[0], few = here[1], many = here[2];
        expect_same_bits(here[0], image);
        expect_same_bits(here[1], few);
        expect_same_bits(here[2], many);
      }
    });
  }
  set_tuning(before);
}

}  // namespace
}  // namespace sparse_engine
