#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <vector>

#include "reference.hpp"
#include "sparse_engine/buffer_pool.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Buffers, ComeBackToTheNextCallerWhoAsksForAsMuch) {
  release_buffers();
  for (const Index floats : {1, 1000, 100'000, 3'000'000}) {
    const float* first = result_buffer(floats).get();
    EXPECT_EQ(result_buffer(floats).get(), first) << floats;
  }
}

TEST(Buffers, AreNotSharedWhileSomebodyHoldsThem) {
  const auto a = result_buffer(5000), b = result_buffer(5000);
  EXPECT_NE(a.get(), b.get());
  std::fill_n(a.get(), 5000, 1.0f);
  std::fill_n(b.get(), 5000, 2.0f);
  EXPECT_EQ(a[4999], 1.0f);
}

TEST(Buffers, AreAlignedToCacheLinesAndWritableToTheirEnd) {
  for (const Index floats : {0, 1, 15, 16, 17, 999, 4095, 70'001, 1'100'000}) {
    const auto buffer = result_buffer(floats);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.get()) % 64, 0u);
    std::fill_n(buffer.get(), floats, 3.0f);
  }
}

TEST(Buffers, OutliveTheThreadThatAskedAndAreGivenBackByAnother) {
  release_buffers();
  std::shared_ptr<float[]> buffer;
  std::thread([&] { buffer = result_buffer(4000); }).join();
  const float* data = buffer.get();
  std::thread([moved = std::move(buffer)]() mutable { moved.reset(); }).join();
  EXPECT_EQ(result_buffer(4000).get(), data);
}

TEST(Buffers, AreTakenAndGivenByManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      for (int i = 0; i < 2000; ++i) {
        const auto buffer = result_buffer(100 + i % 7 * 50);
        buffer[0] = static_cast<float>(t);
        ASSERT_EQ(buffer[0], static_cast<float>(t));
      }
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(Buffers, RefuseASizeThatCannotBe) {
  EXPECT_REFUSED(result_buffer(-1), "must not be negative");
  EXPECT_REFUSED(result_buffer(std::numeric_limits<Index>::max()), "does not fit 63 bits");
}

}  // namespace
}  // namespace sparse_engine
