// Vectors of which some lanes are in memory.
#include "kernels/simd/probe.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Lanes, OthersAreZeroAndTheirMemoryIsNotTouched) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    for (std::int64_t begin = -3; begin <= p.lanes + 2; ++begin)
      for (std::int64_t end = begin; end <= p.lanes + 3; ++end) {
        const std::int64_t first = std::max<std::int64_t>(begin, 0), last = std::min<std::int64_t>(end, p.lanes);
        std::vector<float> some;
        for (std::int64_t lane = first; lane < last; ++lane) some.push_back(static_cast<float>(lane + 1));
        for (const Flush side : {Flush::end, Flush::beginning}) {
          Guarded<float> memory(some, side);
          std::vector<float> all(p.lanes, kNaN);
          p.load_lanes(memory.data() - first, begin, end, all.data());
          for (std::int64_t lane = 0; lane < p.lanes; ++lane)
            ASSERT_EQ(all[lane], lane >= first && lane < last ? static_cast<float>(lane + 1) : 0.0f)
                << "lane " << lane << " of [" << begin << ", " << end << ")";
        }
      }
  });
}

TEST(Lanes, TheFirstAreStoredAndNoMore) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    const std::vector<float> all = reals(p.lanes, 164);
    for (std::int64_t count = 1; count <= p.lanes; ++count)
      for (const Flush side : {Flush::end, Flush::beginning}) {
        Guarded<float> memory(std::vector<float>(count, kNaN), side);
        p.store_first(all.data(), count, memory.data());
        for (std::int64_t i = 0; i < count; ++i) ASSERT_EQ(memory.data()[i], all[i]) << count;
        ASSERT_TRUE(memory.untouched()) << count;
      }
  });
}

}  // namespace
}  // namespace sparse_engine
