#include "probe.hpp"

#include "kernels/simd/simd.hpp"
//
#include "kernels/simd/lanes.hpp"
#include "kernels/simd/pack.hpp"
#include "kernels/simd/simd8.hpp"

namespace sparse_engine::SPARSE_ENGINE_ISA {
namespace {

// Each operation that packs know: of vectors or of packs.
template <class V, class Keep>
void every_operation(V a, V b, V c, Keep keep) {
  keep(add(a, b));
  keep(sub(a, b));
  keep(mul(a, b));
  keep(div(a, b));
  keep(max(a, b));
  keep(min(a, b));
  keep(fma(a, b, c));
  keep(bits_of_both(a, b));
  keep(bits_of_either(a, b));
  keep(low_bits_to_exponent(a));
  keep(by_sign(a, b, c));
  keep(fma(splat(2.0f), a, splat(0.5f)));
}

}  // namespace

extern const SimdProbe probe;
constinit const SimdProbe probe = {
    .lanes = kLanes,
#if defined(__FMA__) || defined(__aarch64__)
    .fuses = true,
#else
    .fuses = false,
#endif
    .picks = kPicks,
    .copy = [](const float* a, float* out) { store(out, load(a)); },
    .stream =
        [](const float* a, float* out) {
          stream(out, load(a));
          end_streams();
        },
    .splat = [](float a, float* out) { store(out, splat(a)); },
    .splat_of_four =
        [](const float* a, float* out) {
          const Broadcast4 four = load_broadcast4(pinned(a));
          store(out, splat_of<0>(four));
          store(out + kLanes, splat_of<1>(four));
          store(out + 2 * kLanes, splat_of<2>(four));
          store(out + 3 * kLanes, splat_of<3>(four));
        },
    .pick = [](const float* a, const uint32_t* lanes, float* out) { store(out, pick(load(a), lanes)); },
    .evens = [](const float* a, float* out) { store(out, evens(a)); },
    .fma = [](const float* a, const float* b, const float* c, float* out) { store(out, fma(load(a), load(b), load(c))); },
    .arithmetic =
        [](const float* a, const float* b, float* out) {
          const Vec x = load(a), y = load(b);
          store(out, add(x, y));
          store(out + kLanes, sub(x, y));
          store(out + 2 * kLanes, mul(x, y));
          store(out + 3 * kLanes, div(x, y));
          store(out + 4 * kLanes, max(x, y));
          store(out + 5 * kLanes, min(x, y));
        },
    .bits =
        [](const float* a, const float* b, float* out) {
          store(out, bits_of_both(load(a), load(b)));
          store(out + kLanes, bits_of_either(load(a), load(b)));
        },
    .low_bits_to_exponent = [](const float* a, float* out) { store(out, low_bits_to_exponent(load(a))); },
    .by_sign = [](const float* a, const float* negative, const float* positive,
                  float* out) { store(out, by_sign(load(a), load(negative), load(positive))); },
    .four =
        [](const float* a, const float* b, float* out) {
          store4(out, add4(load4(a), load4(b)));
          store4(out + 4, fma4(load4(a), load4(b), load4(a)));
          store4(out + 8, splat4(*a));
          store4(out + 12, zero4());
        },
    .transpose =
        [](const float* in, float* out) {
          F32x4 a = load4(in), b = load4(in + 4), c = load4(in + 8), d = load4(in + 12);
          transpose(a, b, c, d);
          store4(out, a);
          store4(out + 4, b);
          store4(out + 8, c);
          store4(out + 12, d);
        },
    .evens4 = [](const float* a, float* out) { store4(out, evens4(a)); },
    .gather4 = [](const float* p, const uint32_t* at, float* out) { store4(out, gather4(p, at[0], at[1], at[2], at[3])); },
    .sum4 = [](const float* a) { return sum4(load4(a)); },
    .first_lanes = [](const float* a, int64_t count, float* out) { store4(out, first_lanes(load4(a), count)); },
    .fma_scalar = [](float a, float b, float c) { return fma(a, b, c); },
    .widen_bfloat16 = [](BFloat16 v) { return widen(v); },
    .widen_float16 = [](Float16 v) { return widen(v); },
    .widen_int8 = [](int8_t v) { return widen(v); },
    .load_bfloat16 =
        [](const BFloat16* p, float* out) {
          store4(out, load4(p));
          store8(out + 4, load8(p));
        },
    .load_float16 =
        [](const Float16* p, float* out) {
          store4(out, load4(p));
          store8(out + 4, load8(p));
        },
    .eight =
        [](const float* a, const float* b, float* out) {
          F32x8 x = load8(a);
          hold(x);
          store8(out, add8(x, load8(b)));
          store8(out + 8, fma8(x, load8(b), x));
          store8(out + 16, splat8(*a));
        },
    .sum8 = [](const float* a) { return sum8(load8(a)); },
    .all_finite = [](const float* a) { return all_finite(load8(a)); },
    .transpose4 = [](const float* source, int64_t source_stride, float* target,
                     int64_t target_stride) { transpose4(source, source_stride, target, target_stride); },
    .transpose8 = [](const float* source, int64_t source_stride, float* target,
                     int64_t target_stride) { transpose8(source, source_stride, target, target_stride); },
    .pick_in_halves =
        [](const float* p, const uint32_t* picks, int next, float* out) {
          Picks which = load_picks(picks);
          for (int i = 0; i < next; ++i) which = next_picks(which);
          store8(out, pick_in_halves(p, which));
        },
    .pick_of_eight = [](const float* p, uint32_t picks,
                        float* out) { store8(out, pick_of_eight(p, load_eight_picks(&picks))); },
    .load_lanes = [](const float* p, int64_t begin, int64_t end,
                     float* out) { store(out, load_lanes(p, lanes_in(begin, end))); },
    .store_first = [](const float* a, int64_t count, float* out) { store_first(out, load(a), count); },
    .pack_operations =
        [](const float* a, const float* b, const float* c, float* out) {
          for (int i = 0; i < kPacked; ++i)
            every_operation(load(a + i * kLanes), load(b + i * kLanes), load(c + i * kLanes),
                            [&out, i, at = 0](Vec v) mutable { store(out + (at++ * kPacked + i) * kLanes, v); });
        },
    .operations_of_pack =
        [](const float* a, const float* b, const float* c, float* out) {
          const auto loaded = [](const float* p) { return pack_of<kPacked>([p](int i) { return load(p + i * kLanes); }); };
          every_operation(loaded(a), loaded(b), loaded(c), [&out](const Pack<kPacked>& made) {
            for (int i = 0; i < kPacked; ++i, out += kLanes) store(out, made.v[i]);
          });
        },
    .by_packs =
        [](const float* a, int count, float* out) {
          Vec v[2 * kPacked + 1];
          for (int i = 0; i < count; ++i) v[i] = load(a + i * kLanes);
          by_packs(v, count, [](auto some) { return add(some, splat(1.0f)); });
          for (int i = 0; i < count; ++i) store(out + i * kLanes, v[i]);
        },
    .packed = kPacked,
};

}  // namespace sparse_engine::SPARSE_ENGINE_ISA
