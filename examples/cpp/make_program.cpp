// Writes a small model file without Python: y = B · relu(A · x + a).
//
//   make_program FILE
#include <cstdio>
#include <exception>
#include <fstream>
#include <sparse_engine/program.hpp>
#include <vector>

namespace engine = sparse_engine;

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::fprintf(stderr, "usage: make_program FILE\n");
    return 2;
  }
  // x = (1 1 1): A · x + a = (3, 0, 4) + (1, -5, 0), of which relu leaves (4, 0, 4); B makes (8, 1) of it.
  const std::vector<float> a = {1, 0, 2, 0, 0, 0, 0, 4, 0};
  const std::vector<float> b = {1, 7, 1, 0.25f, 0, 0};
  const engine::Size items{0, 1};  // grows with the batch
  engine::ProgramParts parts;
  parts.values = {{"x", {items, {3, 0}}}, {"hidden", {items, {3, 0}}}, {"y", {items, {2, 0}}}};
  parts.weights = {engine::compress(a.data(), 3, 3), engine::compress(b.data(), 2, 3)};
  parts.constants = {{1, -5, 0}};
  parts.nodes = {
      {.operation = engine::Operation::linear,
       .name = "first",
       .inputs = {0},
       .output = 1,
       .weight = 0,
       .bias = 0,
       .activation = engine::Activation::relu,
       .numbers = {}},
      {.operation = engine::Operation::linear, .name = "second", .inputs = {1}, .output = 2, .weight = 1, .numbers = {}}};
  parts.inputs = {0};
  parts.outputs = {2};
  const std::vector<std::uint8_t> bytes = engine::Program(std::move(parts)).to_bytes();
  std::ofstream file(argv[1], std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) {
    std::fprintf(stderr, "cannot write %s\n", argv[1]);
    return 1;
  }
  std::printf("%zu bytes\n", bytes.size());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
