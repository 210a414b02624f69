// How a call gets threads and room.
#include "base/workspace.hpp"

#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <thread>

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

constexpr Room kRooms[] = {Room::packed_input, Room::output_tiles, Room::gates};

TEST(Workspace, KeepsLittleWorkOnTheCallerAndSharesMuch) {
  const Threads used(3);
  for (const std::int64_t work : {0, 1, 399'999}) EXPECT_EQ(threads_for(work), 1);
  for (const std::int64_t work : {std::int64_t{400'000}, std::numeric_limits<std::int64_t>::max()})
    EXPECT_EQ(threads_for(work), 3);
  const Threads one(1);
  EXPECT_EQ(threads_for(1'000'000'000), 1);
}

TEST(Workspace, GivesAlignedRoomThatCanBeWrittenToItsEnd) {
  for (const Room which : kRooms)
    for (const std::int64_t floats : {1, 15, 16, 17, 1000, 100'000, 3}) {
      float* const place = room(which, floats);
      ASSERT_NE(place, nullptr);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(place) % 64, 0u);
      std::memset(place, 0x5a, static_cast<std::size_t>(floats) * sizeof(float));
    }
}

TEST(Workspace, GivesTheSameRoomAgainUntilMoreIsNeeded) {
  for (const Room which : kRooms) {
    float* const large = room(which, 200'000);
    large[0] = 1;
    large[199'999] = 2;
    for (const std::int64_t floats : {0, 1, 77, 200'000}) EXPECT_EQ(room(which, floats), large);
    EXPECT_EQ(large[0] + large[199'999], 3);
  }
}

TEST(Workspace, GivesEachSlotAndEachThreadRoomOfItsOwn) {
  float* places[6];
  for (int i = 0; i < 3; ++i) {
    places[i] = room(kRooms[i], 64);
    std::fill(places[i], places[i] + 64, static_cast<float>(i));
  }
  std::thread([&] {
    for (int i = 0; i < 3; ++i) {
      places[3 + i] = room(kRooms[i], 64);
      std::fill(places[3 + i], places[3 + i] + 64, -1.0f);
    }
    for (int i = 0; i < 6; ++i)
      for (int j = 0; j < i; ++j) EXPECT_GE(std::abs(places[i] - places[j]), 64) << i << ", " << j;
  }).join();
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 64; ++k) ASSERT_EQ(places[i][k], static_cast<float>(i));
}

TEST(Workspace, RefusesRoomThatCannotBeCountedAndServesTheNextCall) {
  for (const Room which : kRooms) {
    EXPECT_REFUSED(room(which, std::numeric_limits<std::int64_t>::max()), "does not fit 63 bits");
    EXPECT_REFUSED(room(which, std::numeric_limits<std::int64_t>::max() / 4 + 1), "buffer");
    if (!kSanitized) {
      EXPECT_THROW(room(which, std::int64_t{1} << 58), std::bad_alloc);
    }
    float* const place = room(which, 100);
    place[99] = 1;
    EXPECT_EQ(room(which, 100), place);
  }
}

}  // namespace
}  // namespace sparse_engine
