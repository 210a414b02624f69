// Uses the installed library as a stranger would: every operation once, each result known in advance.
#include <cstdint>
#include <cstdio>
#include <sparse_engine/sparse_engine.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

int failures = 0;

void expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  ++failures;
}

}  // namespace

int main() {
  namespace engine = sparse_engine;
  //     ( 1 0 2 )       ( 1 4 )   ( 10 14 )
  // W = ( 0 0 0 ),  X = ( 2 5 ) → (  0  0 ) before the bias
  //     ( 0 -3 0 )      ( 4.5 5 )
  const std::vector<float> weights = {1, 0, 2, 0, 0, 0, 0, -3, 0};
  const engine::Csr w = engine::Csr::from_dense(weights.data(), 3, 3);
  expect(w.nnz() == 3, "number of stored weights");

  const std::vector<float> x = {1, 4, 2, 5, 4.5f, 5}, bias = {0, 1, 1};
  std::vector<float> y(6);
  engine::multiply(w, {x.data(), 3, 2, 2, 1}, {.bias = bias.data(), .activation = engine::Activation::relu},
                   {y.data(), 3, 2, 2, 1});
  expect(y == std::vector<float>{10, 14, 1, 1, 0, 0}, "product");

  // The three columns as three channels of a 1 × 2 image, the rows as three filters of 1 × 1.
  engine::conv2d({x.data(), 1, 3, 1, 2, 6, 2, 2, 1}, w, {.kernel_h = 1, .kernel_w = 1}, {}, {y.data(), 1, 3, 1, 2, 6, 2, 2, 1});
  expect(y == std::vector<float>{10, 14, 0, 0, -6, -15}, "convolution");

  std::vector<std::uint8_t> bits(engine::mask_bytes(9));
  engine::keep_largest(weights, 2, bits);
  expect(bits[0] == 0b10000100 && bits[1] == 0, "mask of the two largest");

  try {
    engine::set_isa("quantum");
    expect(false, "an unknown instruction set is refused");
  } catch (const std::invalid_argument&) {
  }

  if (failures == 0)
    std::printf("%s, %d threads (%s)\n", std::string(engine::isa()).c_str(), engine::num_threads(),
                std::string(engine::thread_backend()).c_str());
  return failures == 0 ? 0 : 1;
}
