// Runs one small operation, for a simulator that counts its instructions (tests/gates/instructions.py). Only what happens
// inside measured() counts; the call before it packs and allocates.
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/tuning.hpp"
#include "reference.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

using Operation = std::function<void()>;

// linear(x, W) with 256 × 512 weights and `columns` rows of x.
Operation product(std::shared_ptr<const Matrix> w, Index columns, Activation activation = Activation::none) {
  auto x = std::make_shared<std::vector<float>>(reals(w->cols() * columns, 1));
  auto y = std::make_shared<std::vector<float>>(w->rows() * columns);
  return [=] {
    linear({x->data(), columns, w->cols(), w->cols(), 1}, *w, {.bias = nullptr, .residual = nullptr, .activation = activation},
           {y->data(), columns, w->rows(), w->rows(), 1});
  };
}

Operation convolution(Index kernel, Index stride, bool channels_last) {
  const Index channels = 32, filters = 64, size = 14, padding = kernel / 2, out = (size + 2 * padding - kernel) / stride + 1;
  const Weights weights = real_weights(filters, channels * kernel * kernel, 0.1, 2);
  auto w = std::make_shared<Csr>(weights.csr());
  auto x = std::make_shared<std::vector<float>>(reals(channels * size * size, 3));
  auto y = std::make_shared<std::vector<float>>(filters * out * out);
  Conv2dParams shape{.kernel_h = kernel, .kernel_w = kernel, .stride_h = stride, .stride_w = stride};
  shape.pad_top = shape.pad_left = shape.pad_bottom = shape.pad_right = padding;
  return [=] {
    const Index in_c = channels_last ? 1 : size * size, in_w = channels_last ? channels : 1;
    const Index out_c = channels_last ? 1 : out * out, out_w = channels_last ? filters : 1;
    conv2d({x->data(), 1, channels, size, size, channels * size * size, in_c, size * in_w, in_w}, *w, shape, {},
           {y->data(), 1, filters, out, out, filters * out * out, out_c, out * out_w, out_w});
  };
}

std::map<std::string, Operation> operations() {
  constexpr Index kRows = 256, kCols = 512;
  const Weights tenth = real_weights(kRows, kCols, 0.1, 4), half = real_weights(kRows, kCols, 0.5, 5);
  Weights strips = half, groups = half;
  for (Index i = 0; i < kRows * kCols; ++i) {
    const Index row = i / kCols, col = i % kCols;
    strips.values[i] = half.values[row / 4 * 4 * kCols + col];
    groups.values[i] = (col + row) % 4 < 2 ? 1.0f + static_cast<float>(col) : 0.0f;
  }
  const auto csr = std::make_shared<Csr>(tenth.csr());
  const auto bitmask = [&](ValueType type) {
    return std::make_shared<Bitmask>(Bitmask::from_dense(half.values.data(), kRows, kCols, type));
  };
  const auto bsr = std::make_shared<Bsr>(Bsr::from_dense(strips.values.data(), kRows, kCols, {4, 1}));
  const auto nm = std::make_shared<Nm>(Nm::from_dense(groups.values.data(), kRows, kCols, {2, 4}));
  auto scores = std::make_shared<std::vector<float>>(reals(65536, 6));
  auto bits = std::make_shared<std::vector<std::uint8_t>>(8192);
  return {
      {"csr_1", product(csr, 1)},
      {"csr_2", product(csr, 2)},
      {"csr_8", product(csr, 8)},
      {"csr_64", product(csr, 64)},
      {"csr_64_gelu", product(csr, 64, Activation::gelu)},
      {"bitmask_float32_1", product(bitmask(ValueType::float32), 1)},
      {"bitmask_bfloat16_1", product(bitmask(ValueType::bfloat16), 1)},
      {"bsr_1", product(bsr, 1)},
      {"bsr_64", product(bsr, 64)},
      {"nm_1", product(nm, 1)},
      {"nm_64", product(nm, 64)},
      {"conv_3x3", convolution(3, 1, false)},
      {"conv_3x3_stride_2", convolution(3, 2, false)},
      {"conv_1x1_channels_last", convolution(1, 1, true)},
      {"keep_largest", [=] { keep_largest(*scores, 6000, *bits); }},
      {"apply_mask", [=] { apply_mask(*bits, scores->data(), scores->size(), sizeof(float)); }},
  };
}

}  // namespace
}  // namespace sparse_engine

extern "C" [[gnu::noinline]] void measured(const std::function<void()>& operation) { operation(); }

int main(int argc, char** argv) {
  const auto operations = sparse_engine::operations();
  if (argc == 1) {
    for (const auto& [name, operation] : operations) std::puts(name.c_str());
    return 0;
  }
  const auto found = operations.find(argv[1]);
  if (found == operations.end()) return 2;
  sparse_engine::set_num_threads(1);
  sparse_engine::set_tuning(sparse_engine::tuned_for({}));  // the same decisions on every machine, whatever its caches
  found->second();
  measured(found->second);
}
