#include "sparse_engine/interleave.hpp"

#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

enum class Order { contiguous, channels_last, apart };

struct Case {
  Index batch, channels, depth, height, width;  // of y
  Interleaving s;
};

template <class View>
View laid_out(Order order, Index batch, Index channels, Index depth, Index height, Index width) {
  View v{nullptr, batch, channels, depth, height, width, 0, 0, 0, 0, 0};
  if (order == Order::channels_last) {
    v.stride_c = 1;
    v.stride_w = channels;
  } else {
    v.stride_w = order == Order::apart ? 3 : 1;
  }
  v.stride_h = v.stride_w * width;
  v.stride_d = v.stride_h * height;
  if (order != Order::channels_last) v.stride_c = v.stride_d * depth;
  v.stride_n = v.stride_d * depth * channels;
  if (order == Order::channels_last) v.stride_n = v.stride_d * depth;
  return v;
}

Index blocks(Index length, Index stride) { return (length + stride - 1) / stride; }

// One element after another, by the definition; every thread count gives these bits and writes nothing else.
void expect_interleaved(const Case& k, Order order) {
  const Interleaving& s = k.s;
  const Index phases = s.stride_d * s.stride_h * s.stride_w, per_group = k.channels / s.groups;
  auto x = laid_out<ConstVolumes>(order, k.batch, k.channels * phases, blocks(k.depth, s.stride_d),
                                  blocks(k.height, s.stride_h), blocks(k.width, s.stride_w));
  auto y = laid_out<Volumes>(order, k.batch, k.channels, k.depth, k.height, k.width);
  const std::vector<float> from = integers(x.batch * x.stride_n + 1, 61), before(y.batch * y.stride_n + 2, 77.0f);
  std::vector<float> expected = before;
  for (Index n = 0; n < k.batch; ++n)
    for (Index c = 0; c < k.channels; ++c)
      for (Index d = 0; d < k.depth; ++d)
        for (Index h = 0; h < k.height; ++h)
          for (Index w = 0; w < k.width; ++w) {
            const Index phase = (d % s.stride_d * s.stride_h + h % s.stride_h) * s.stride_w + w % s.stride_w;
            const Index row = (c / per_group * phases + phase) * per_group + c % per_group;
            expected[n * y.stride_n + c * y.stride_c + d * y.stride_d + h * y.stride_h + w * y.stride_w] =
                from[n * x.stride_n + row * x.stride_c + d / s.stride_d * x.stride_d + h / s.stride_h * x.stride_h +
                     w / s.stride_w * x.stride_w];
          }
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    std::vector<float> to = before;
    x.data = from.data();
    y.data = to.data();
    interleave(x, s, y);
    expect_same_bits(to, expected);
  }
  set_num_threads(0);
}

TEST(Interleave, MovesPhasesToTheirPlaces) {
  for (const Order order : {Order::contiguous, Order::channels_last, Order::apart}) {
    for (const Index stride : {1, 2, 3, 4, 5})
      for (const Index width : {1, 2, 7, 8, 33, 64})
        expect_interleaved({2, 6, 1, 5, width, {.groups = 2, .stride_h = 2, .stride_w = stride}}, order);
    expect_interleaved({1, 4, 5, 3, 9, {.groups = 4, .stride_d = 3, .stride_h = 1, .stride_w = 2}}, order);
    expect_interleaved({3, 1, 1, 1, 40, {.stride_w = 8}}, order);
    expect_interleaved({2, 16, 1, 60, 62, {.stride_h = 2, .stride_w = 2}}, order);  // several tasks
  }
}

TEST(Interleave, TakesWhatIsEmpty) { expect_interleaved({0, 4, 1, 2, 2, {.stride_h = 2, .stride_w = 2}}, Order::contiguous); }

TEST(Interleave, RefusesShapesThatDisagree) {
  float memory[64] = {};
  const ConstVolumes x{memory, 1, 8, 1, 1, 2, 16, 2, 2, 2, 1};
  const Volumes y{memory, 1, 2, 1, 2, 4, 16, 8, 8, 4, 1};
  const Interleaving s{.groups = 1, .stride_d = 1, .stride_h = 2, .stride_w = 2};
  const auto with = [&](auto change) {
    auto a = x;
    auto b = s;
    auto c = y;
    change(a, b, c);
    EXPECT_THROW(interleave(a, b, c), std::invalid_argument);
  };
  with([](auto& a, auto&, auto&) { a.channels = 7; });
  with([](auto& a, auto&, auto&) { a.batch = 2; });
  with([](auto& a, auto&, auto&) { a.width = 3; });
  with([](auto&, auto&, auto& c) { c.width = 5; });
  with([](auto&, auto&, auto& c) { c.height = -2; });
  with([](auto&, auto& b, auto&) { b.groups = 3; });
  with([](auto&, auto& b, auto&) { b.groups = 0; });
  with([](auto&, auto& b, auto&) { b.stride_w = 0; });
  with([](auto&, auto& b, auto&) { b.stride_d = Index{1} << 62; });
}

}  // namespace
}  // namespace sparse_engine
