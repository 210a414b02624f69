// Zeros where a mask says so: elements of every size, any number of them, at any address; and what is clean is not written.
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cstring>

#include "base/registry.hpp"
#include "kernels/table.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

template <class Item>
bool apply(const std::uint8_t* bits, void* items, std::uint64_t count) {
  return kernels().mask_apply(ApplyArgs<Item>{bits, items, count});
}

template <class Body>
void for_each_size(const Body& body) {
  for_each_isa([&] { for_each_type(MaskedTypes{}, [&]<class Item>() { body(Item{}); }); });
}

TEST(MaskApply, ZeroesWhatGoesLeavesWhatStaysAndSaysWhetherAnythingWent) {
  for_each_size([](auto item) {
    using Item = decltype(item);
    Random random(101);
    for (const Index count : {0, 1, 3, 7, 8, 9, 15, 16, 17, 255})
      for (const double density : {0.0, 0.5, 0.95, 1.0})
        for (const std::size_t shift : {0, 1, 3}) {  // bytes past an aligned place
          std::vector<std::uint8_t> bits((static_cast<std::size_t>(count) + 7) / 8);
          std::vector<Item> items(count), expected;
          bool changed = false;
          for (Index i = 0; i < count; ++i) {
            const bool stays = random.one_in(density);
            bits[i / 8] = static_cast<std::uint8_t>(bits[i / 8] | unsigned{stays} << i % 8);
            // A sign alone is something; so is what looks like a NaN.
            items[i] = random.one_in(0.3)   ? Item{0}
                       : random.one_in(0.3) ? static_cast<Item>(Item{1} << (sizeof(Item) * 8 - 1))
                                            : static_cast<Item>(random.bits());
            expected.push_back(stays ? items[i] : Item{0});
            changed = changed || expected.back() != items[i];
          }
          std::vector<unsigned char> bytes(shift + items.size() * sizeof(Item), 0x5a);
          if (count > 0) std::memcpy(bytes.data() + shift, items.data(), items.size() * sizeof(Item));
          Guarded<unsigned char> memory(bytes, Flush::end);
          Guarded<std::uint8_t> mask(bits, Flush::end);
          ASSERT_EQ(apply<Item>(mask.data(), memory.data() + shift, static_cast<std::uint64_t>(count)), changed)
              << count << " elements of " << sizeof(Item) << " bytes";
          if (count > 0) std::memcpy(items.data(), memory.data() + shift, items.size() * sizeof(Item));
          ASSERT_EQ(items, expected);
          for (std::size_t i = 0; i < shift; ++i) ASSERT_EQ(memory.data()[i], 0x5a);
          ASSERT_TRUE(memory.untouched());
          ASSERT_FALSE(apply<Item>(mask.data(), memory.data() + shift, static_cast<std::uint64_t>(count))) << "a second time";
        }
  });
}

TEST(MaskApply, FindsTheOneElementThatGoesWhereverItLies) {
  for_each_size([](auto item) {
    using Item = decltype(item);
    for (std::size_t place = 0; place < 29; ++place) {
      std::vector<Item> items(29, static_cast<Item>(~Item{0}));
      std::vector<std::uint8_t> bits(4, 0xff);
      bits[place / 8] = static_cast<std::uint8_t>(~(1u << place % 8));
      EXPECT_TRUE(apply<Item>(bits.data(), items.data(), 29));
      for (std::size_t i = 0; i < 29; ++i) ASSERT_EQ(items[i] == 0, i == place);
    }
  });
}

TEST(MaskApply, DoesNotWriteToWhatIsCleanAlready) {
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const memory = mmap(nullptr, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);  // zeros that cannot be written
  ASSERT_NE(memory, MAP_FAILED);
  const std::vector<std::uint8_t> bits(page, 0x6e);
  for_each_size([&](auto item) {
    using Item = decltype(item);
    EXPECT_FALSE(apply<Item>(bits.data(), memory, page / sizeof(Item) - 3));
  });
  munmap(memory, page);
}

}  // namespace
}  // namespace sparse_engine
