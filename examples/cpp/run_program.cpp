// Runs a compiled model that Python saved with compiled.save("model.sparse"): inputs of ones, the first numbers of each output,
// and the median time of a call.
//
//   run_program FILE [BATCH [THREADS]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <sparse_engine/program.hpp>
#include <sparse_engine/session.hpp>
#include <string>
#include <vector>

namespace engine = sparse_engine;

namespace {

constexpr std::size_t kShown = 8;  // numbers of an output
constexpr int kCalls = 20;

std::string text_of(const std::vector<engine::Index>& shape) {
  std::string text;
  for (const engine::Index size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + ")";
}

// Memory for some values of a program at a batch size, and where each begins.
struct Tensors {
  Tensors(const engine::Program& program, const std::vector<engine::Index>& values, engine::Index batch) {
    for (const engine::Index value : values) {
      names.push_back(program.values()[static_cast<std::size_t>(value)].name + " " + text_of(program.shape(value, batch)));
      data.emplace_back(static_cast<std::size_t>(program.elements(value, batch)), 1.0f);
    }
  }
  std::vector<std::string> names;
  std::vector<std::vector<float>> data;
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2 || argc > 4) {
    std::fprintf(stderr, "usage: run_program FILE [BATCH [THREADS]]\n");
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "cannot read %s\n", argv[1]);
    return 1;
  }
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const engine::Index batch = argc > 2 ? std::atoll(argv[2]) : 1;

  // A stranger's file is checked here, and nothing in it is executed: std::invalid_argument says what is wrong with it.
  const auto program = std::make_shared<const engine::Program>(
      engine::Program::from_bytes({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}));
  const engine::Session session(program, argc > 3 ? std::atoi(argv[3]) : 0);

  Tensors inputs(*program, program->inputs(), batch), outputs(*program, program->outputs(), batch);
  std::vector<const float*> x;
  std::vector<float*> y;
  for (const std::vector<float>& values : inputs.data) x.push_back(values.data());
  for (std::vector<float>& values : outputs.data) y.push_back(values.data());

  std::vector<double> milliseconds;
  session.run(batch, x, y);  // plans what this batch size needs
  for (int call = 0; call < kCalls; ++call) {
    const auto begin = std::chrono::steady_clock::now();
    session.run(batch, x, y);
    milliseconds.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  std::nth_element(milliseconds.begin(), milliseconds.begin() + kCalls / 2, milliseconds.end());

  for (std::size_t i = 0; i < outputs.names.size(); ++i) {
    std::printf("%s:", outputs.names[i].c_str());
    for (std::size_t k = 0; k < std::min(kShown, outputs.data[i].size()); ++k) std::printf(" %g", outputs.data[i][k]);
    std::printf("\n");
  }
  std::printf("%.3f ms on %d threads\n", milliseconds[kCalls / 2], session.threads());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
