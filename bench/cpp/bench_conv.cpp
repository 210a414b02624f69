// sparse_engine::conv2d over the `conv` lines of bench/shapes, NCHW and channels_last.
#include <vector>

#include "cases.hpp"
#include "sparse_engine/sparse_engine.hpp"

namespace {

using sparse_engine::Activation;
using sparse_engine::Index;

struct Layer {
  Index out, in, kernel, stride, padding, height, width, batch;
  Index out_height, out_width;
};

template <class View, class Pointer>
View view(Pointer data, Index batch, Index channels, Index height, Index width, bool channels_last) {
  if (channels_last) return {data, batch, channels, height, width, channels * height * width, 1, width * channels, channels};
  return {data, batch, channels, height, width, channels * height * width, height * width, width, 1};
}

bool right(const Layer& l, const std::vector<float>& weights, const sparse_engine::ConstImages& x,
           const sparse_engine::Images& y) {
  const Index outputs = l.batch * l.out * l.out_height * l.out_width;
  for (Index i = 0; i < outputs; i += outputs / 500 + 1) {
    const Index w = i % l.out_width, h = i / l.out_width % l.out_height;
    const Index channel = i / l.out_width / l.out_height % l.out, image = i / l.out_width / l.out_height / l.out;
    double exact = 0, magnitude = 0;
    Index terms = 0;
    for (Index k = 0; k < l.in * l.kernel * l.kernel; ++k) {
      const float weight = weights[channel * l.in * l.kernel * l.kernel + k];
      if (weight == 0) continue;
      ++terms;
      const Index row = h * l.stride - l.padding + k / l.kernel % l.kernel, column = w * l.stride - l.padding + k % l.kernel;
      if (row < 0 || row >= l.height || column < 0 || column >= l.width) continue;
      const double product =
          static_cast<double>(weight) *
          x.data[image * x.stride_n + k / (l.kernel * l.kernel) * x.stride_c + row * x.stride_h + column * x.stride_w];
      exact += product, magnitude += std::abs(product);
    }
    const float got = y.data[image * y.stride_n + channel * y.stride_c + h * y.stride_h + w * y.stride_w];
    if (!bench::within_bound(got, exact, magnitude, terms)) return false;
  }
  return true;
}

void conv(benchmark::State& state, const bench::Case& c, bool channels_last) {
  Layer l{};
  Index* fields[] = {&l.out, &l.in, &l.kernel, &l.stride, &l.padding, &l.height, &l.width, &l.batch};
  for (std::size_t i = 0; i < std::size(fields); ++i) *fields[i] = static_cast<Index>(c.numbers[i]);
  sparse_engine::Conv2dParams shape{.kernel_h = l.kernel, .kernel_w = l.kernel};
  shape.stride_h = shape.stride_w = l.stride;
  shape.pad_top = shape.pad_left = shape.pad_bottom = shape.pad_right = l.padding;
  const auto size = sparse_engine::conv2d_output_size(shape, l.height, l.width);
  l.out_height = size.height, l.out_width = size.width;

  const Index cols = l.in * l.kernel * l.kernel, positions = l.batch * size.height * size.width;
  const auto weights = bench::normal(l.out * cols, 1, c.numbers[8]);
  const auto input = bench::normal(l.batch * l.in * l.height * l.width, 2);
  std::vector<float> output(static_cast<std::size_t>(positions * l.out));
  const auto matrix = sparse_engine::Csr::from_dense(weights.data(), l.out, cols);
  const auto x = view<sparse_engine::ConstImages>(input.data(), l.batch, l.in, l.height, l.width, channels_last);
  const auto y = view<sparse_engine::Images>(output.data(), l.batch, l.out, size.height, size.width, channels_last);
  const auto run = [&] { sparse_engine::conv2d(x, matrix, shape, {}, y); };
  run();
  if (!right(l, weights, x, y)) return state.SkipWithError("outside the proven bound");
  for (auto _ : state) {
    run();
    benchmark::ClobberMemory();
  }
  const Index bytes = matrix.nnz() * 6 + 4 * static_cast<Index>(input.size() + output.size());
  bench::report(state, matrix.nnz(), l.out * cols, positions, bytes);
}

}  // namespace

int main(int argc, char** argv) {
  for (const bench::Case& c : bench::cases("conv", 9)) {
    for (const bool channels_last : {false, true}) {
      std::ostringstream name;
      name << "conv/" << c.file << "/" << c.numbers[1] << "-" << c.numbers[0] << "/k" << c.numbers[2] << "s" << c.numbers[3]
           << "/" << c.numbers[5] << "x" << c.numbers[6] << "/b" << c.numbers[7] << "/" << c.numbers[8]
           << (channels_last ? "/last" : "");
      benchmark::RegisterBenchmark(name.str().c_str(), conv, c, channels_last)->UseRealTime()->Unit(benchmark::kMicrosecond);
    }
  }
  return bench::run_all(argc, argv);
}
