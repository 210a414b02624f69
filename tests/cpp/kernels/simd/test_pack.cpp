// Several vectors side by side: what one of them gives is what that vector gives by itself.
#include "kernels/simd/probe.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(Pack, EveryOperationIsThatOfEachVector) {
  constexpr int kOperations = 12;
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    const Index floats = Index{p.packed} * p.lanes;
    const std::vector<float> a = reals(floats, 171), b = reals(floats, 172), c = reals(floats, 173);
    std::vector<float> one_by_one(kOperations * floats, kNaN), packed(kOperations * floats + 1, kNaN);
    p.pack_operations(a.data(), b.data(), c.data(), one_by_one.data());
    p.operations_of_pack(a.data(), b.data(), c.data(), packed.data());
    EXPECT_TRUE(std::isnan(packed.back()));  // as many as that
    packed.pop_back();
    for (Index i = 0; i < floats; ++i) ASSERT_EQ(packed[i], a[i] + b[i]);
    expect_same_bits(packed, one_by_one);
  });
}

TEST(Pack, AnyNumberOfVectorsIsTakenOnceEach) {
  for_each_isa([] {
    const SimdProbe& p = simd_probe();
    for (int count = 1; count <= 2 * p.packed + 1; ++count) {
      const std::vector<float> v = reals(Index{count} * p.lanes, 174);
      std::vector<float> y(v.size(), kNaN);
      p.by_packs(v.data(), count, y.data());
      for (std::size_t i = 0; i < v.size(); ++i) ASSERT_EQ(y[i], v[i] + 1) << count << " vectors";
    }
  });
}

}  // namespace
}  // namespace sparse_engine
