// Lists of types, their pairs, and kernels that are selected by the type of their arguments.
#include "kernels/table_types.hpp"

#include <gtest/gtest.h>

#include <set>
#include <type_traits>

namespace sparse_engine {
namespace {

template <class... T>
struct Args {
  int of;
};
template <class... T>
using Size = int(const Args<T...>& args, int factor);

template <class... T>
int size(const Args<T...>& args, int factor) {
  return args.of + factor * static_cast<int>((sizeof(T) + ...));
}

constexpr auto kSize = [](const auto& args, auto... more) { return size(args, more...); };

TEST(TableTypes, PairEveryTypeOfTwoLists) {
  using Pairs = PairsOf<TypeList<char, short>, TypeList<int, double>>::Type;
  EXPECT_TRUE(
      (std::is_same_v<Pairs,
                      TypeList<TypeList<char, int>, TypeList<char, double>, TypeList<short, int>, TypeList<short, double>>>));
}

TEST(TableTypes, SelectAKernelByTheTypeOfItsArguments) {
  constexpr TypedKernels<Size, TypeList<char, float, double>> kernels(kSize);
  EXPECT_EQ(kernels(Args<char>{100}, 2), 102);
  EXPECT_EQ(kernels(Args<double>{100}, 2), 116);
  constexpr TypedKernels<Size, PairsOf<TypeList<char, short>, TypeList<int, double>>::Type> pairs(kSize);
  EXPECT_EQ(pairs(Args<char, double>{0}, 1), 9);
  EXPECT_EQ(pairs(Args<short, int>{0}, 1), 6);
}

TEST(TableTypes, GoThroughEveryEntryAndEveryType) {
  constexpr TypedKernels<Size, PairsOf<TypeList<char, short>, TypeList<int, double>>::Type> pairs(kSize);
  std::set<const void*> seen;
  pairs.for_each([&](auto* pointer) { seen.insert(reinterpret_cast<const void*>(pointer)); });
  EXPECT_EQ(seen.size(), 4u);
  std::multiset<std::size_t> sizes;
  for_each_type(TypeList<char, double>{}, [&]<class T>() { sizes.insert(sizeof(T)); });
  for_each_type(TypeList<TypeList<char, short>, TypeList<int, double>>{},
                [&]<class T, class U>() { sizes.insert(sizeof(T) + sizeof(U)); });
  EXPECT_EQ(sizes, (std::multiset<std::size_t>{1, 3, 8, 12}));
}

}  // namespace
}  // namespace sparse_engine
