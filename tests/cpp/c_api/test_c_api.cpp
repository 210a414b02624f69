#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "reference.hpp"
#include "small_programs.hpp"
#include "sparse_engine/c_api.h"
#include "sparse_engine/session.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

struct Opened {
  explicit Opened(int threads = 1) {
    bytes = Program(residual_network()).to_bytes();
    model = sparse_engine_open_bytes(bytes.data(), bytes.size(), threads, error, sizeof error);
  }
  ~Opened() { sparse_engine_close(model); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  char error[200] = "as before";
  std::vector<std::uint8_t> bytes;
  sparse_engine_model* model = nullptr;
};

TEST(CApi, DescribesInputsAndOutputs) {
  const Opened o;
  ASSERT_NE(o.model, nullptr) << o.error;
  EXPECT_STREQ(o.error, "");
  EXPECT_EQ(sparse_engine_input_count(o.model), 1);
  EXPECT_EQ(sparse_engine_output_count(o.model), 1);
  EXPECT_STREQ(sparse_engine_input_name(o.model, 0), "x");
  EXPECT_STREQ(sparse_engine_output_name(o.model, 0), "y");
  EXPECT_EQ(sparse_engine_input_rank(o.model, 0), 4);
  EXPECT_EQ(sparse_engine_output_rank(o.model, 0), 2);
  std::int64_t shape[4];
  EXPECT_EQ(sparse_engine_input_shape(o.model, 0, 7, shape), SPARSE_ENGINE_OK);
  EXPECT_EQ((std::vector<std::int64_t>(shape, shape + 4)), (std::vector<std::int64_t>{7, 3, 8, 8}));
  EXPECT_EQ(sparse_engine_output_shape(o.model, 0, 7, shape), SPARSE_ENGINE_OK);
  EXPECT_EQ((std::vector<std::int64_t>(shape, shape + 2)), (std::vector<std::int64_t>{7, 5}));
}

TEST(CApi, RunsAsASessionDoesAlsoForSeveralThreadsAtOnce) {
  const Opened o(2);
  const auto program = std::make_shared<const Program>(residual_network());
  const Session session(program, 2);
  const std::vector<float> x = integers(5 * 3 * 64, 1);
  std::vector<float> expected(5 * 5);
  session.run(5, {x.data()}, {expected.data()});
  std::vector<std::thread> callers;
  std::vector<std::vector<float>> found(3, std::vector<float>(5 * 5, kNaN));
  for (std::vector<float>& y : found)
    callers.emplace_back([&] {
      const float* inputs[] = {x.data()};
      float* outputs[] = {y.data()};
      EXPECT_EQ(sparse_engine_run(o.model, 5, inputs, outputs, nullptr, 0), SPARSE_ENGINE_OK);
    });
  for (std::thread& caller : callers) caller.join();
  for (const std::vector<float>& y : found) EXPECT_EQ(y, expected);
}

TEST(CApi, OpensAFile) {
  const Opened o;
  const std::string path = testing::TempDir() + "sparse_engine_c_api_test.sparse";
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(o.bytes.data()), static_cast<long>(o.bytes.size()));
  char error[200];
  sparse_engine_model* const model = sparse_engine_open(path.c_str(), 1, error, sizeof error);
  EXPECT_NE(model, nullptr) << error;
  sparse_engine_close(model);
  std::remove(path.c_str());
  EXPECT_EQ(sparse_engine_open(path.c_str(), 1, error, sizeof error), nullptr);
  EXPECT_EQ(std::string(error), "cannot read " + path);
}

TEST(CApi, SaysWhatIsWrongAndCutsWhatIsTooLong) {
  Opened o;
  char error[200], few[8], one[1] = {'x'};
  for (std::size_t place = 0; place < o.bytes.size(); place += 97) {
    std::vector<std::uint8_t> broken = o.bytes;
    broken[place] ^= 0x5a;
    EXPECT_EQ(sparse_engine_open_bytes(broken.data(), broken.size(), 1, error, sizeof error), nullptr);
    EXPECT_STRNE(error, "");
  }
  EXPECT_EQ(sparse_engine_open_bytes(o.bytes.data(), 3, 1, few, sizeof few), nullptr);
  EXPECT_EQ(std::string(few).size(), 7u);
  EXPECT_EQ(sparse_engine_open_bytes(nullptr, 3, 1, one, sizeof one), nullptr);
  EXPECT_EQ(one[0], '\0');
  EXPECT_EQ(sparse_engine_open(nullptr, 1, error, sizeof error), nullptr);
  EXPECT_STREQ(error, "path is NULL");
  EXPECT_EQ(sparse_engine_open_bytes(o.bytes.data(), o.bytes.size(), -1, error, sizeof error), nullptr);
}

TEST(CApi, RefusesIndicesBatchesAndPointersThatBreakARule) {
  const Opened o;
  for (const int index : {-1, 1, 1000}) {
    EXPECT_EQ(sparse_engine_input_name(o.model, index), nullptr);
    EXPECT_EQ(sparse_engine_output_rank(o.model, index), -1);
    std::int64_t shape[4];
    EXPECT_EQ(sparse_engine_input_shape(o.model, index, 1, shape), SPARSE_ENGINE_INVALID);
  }
  std::int64_t shape[4];
  EXPECT_EQ(sparse_engine_input_shape(o.model, 0, -1, shape), SPARSE_ENGINE_INVALID);
  EXPECT_EQ(sparse_engine_input_shape(o.model, 0, 1, nullptr), SPARSE_ENGINE_INVALID);
  char error[200];
  const std::vector<float> x(3 * 64);
  std::vector<float> y(5);
  const float* inputs[] = {x.data()};
  float* outputs[] = {y.data()};
  const float* no_inputs[] = {nullptr};
  EXPECT_EQ(sparse_engine_run(o.model, -1, inputs, outputs, error, sizeof error), SPARSE_ENGINE_INVALID);
  EXPECT_STREQ(error, "batch is -1; it must not be negative");
  EXPECT_EQ(sparse_engine_run(o.model, 1, no_inputs, outputs, error, sizeof error), SPARSE_ENGINE_INVALID);
  EXPECT_STREQ(error, "inputs[0] is NULL");
  EXPECT_EQ(sparse_engine_run(o.model, 1, inputs, nullptr, error, sizeof error), SPARSE_ENGINE_INVALID);
  sparse_engine_close(nullptr);
}

}  // namespace
}  // namespace sparse_engine
