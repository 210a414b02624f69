// What a program is written as, and what is refused when it is read.
#include "small_programs.hpp"
#include "sparse_engine/fingerprint.hpp"
#include "sparse_engine/session.hpp"

namespace sparse_engine {
namespace {

using namespace reference;

TEST(ProgramFile, HoldsEverything) {
  ProgramParts p = residual_network();
  p.nodes[0].activation = {Activation::leaky_relu, 0.125f};
  p.about = "{\"model\": \"ü\"}";
  const std::vector<std::uint8_t> bytes = Program(std::move(p)).to_bytes();
  const Program back = Program::from_bytes(bytes);
  EXPECT_EQ(back.to_bytes(), bytes);
  EXPECT_EQ(back.about(), "{\"model\": \"ü\"}");
  EXPECT_EQ(back.nodes()[1].residual, 1);
  EXPECT_EQ(back.nodes()[0].activation, Activation::leaky_relu);
  EXPECT_EQ(back.nodes()[0].activation.slope, 0.125f);
}

// Weights and constants of one value each, in a residual network.
std::vector<std::uint8_t> bytes_with(float value) {
  ProgramParts p = residual_network();
  for (WeightInfo& weight : p.weights) std::ranges::fill(weight.values, value);
  for (std::vector<float>& constant : p.constants) std::ranges::fill(constant, value);
  return Program(std::move(p)).to_bytes();
}

TEST(ProgramFile, HoldsFloatsInSixteenBitsWhereThoseHoldThemExactly) {
  std::size_t floats = 0;
  for (const WeightInfo& weight : residual_network().weights) floats += weight.values.size();
  for (const std::vector<float>& constant : residual_network().constants) floats += constant.size();
  const std::size_t wide = bytes_with(0.1f).size();
  for (const float value : {0x1.02p+100f, 0x1.004p+3f, -0.0f, std::numeric_limits<float>::infinity()}) {
    const std::vector<std::uint8_t> bytes = bytes_with(value);
    EXPECT_EQ(wide - bytes.size(), 2 * floats) << value;
    const Program back = Program::from_bytes(bytes);
    for (const WeightInfo& weight : back.weights())
      for (const float v : weight.values) ASSERT_EQ(std::bit_cast<std::uint32_t>(v), std::bit_cast<std::uint32_t>(value));
    EXPECT_EQ(back.constants()[0][0], value);
    EXPECT_EQ(back.to_bytes(), bytes);
  }
}

TEST(ProgramFile, RefusesTypesThatNumbersDoNotHave) {
  ProgramParts p = residual_network();
  p.constants[0] = {0x1.fp+100f, 0, 0, 0, 0, 0};  // its first is found by its bits
  std::vector<std::uint8_t> bytes = Program(std::move(p)).to_bytes();
  const std::uint8_t first[] = {1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0xf8, 0x71};
  const auto at = std::ranges::search(bytes, first).begin();
  ASSERT_NE(at, bytes.end());
  for (const std::uint8_t type : {3, 4, 200}) {  // 3 is int8, which needs scales
    *at = type;
    const std::uint64_t mark = fingerprint(std::as_bytes(std::span(bytes).first(bytes.size() - 8)));
    std::memcpy(bytes.data() + bytes.size() - 8, &mark, sizeof mark);
    EXPECT_REFUSED(Program::from_bytes(bytes), "there is no such type");
  }
}

TEST(ProgramFile, RefusesEveryTruncation) {
  const std::vector<std::uint8_t> bytes = Program(residual_network()).to_bytes();
  for (std::size_t length = 0; length < bytes.size(); ++length)
    EXPECT_THROW(Program::from_bytes({bytes.data(), length}), std::invalid_argument) << length;
}

// With the fingerprint made right again, so that what lies behind it is what refuses. Whatever is accepted must run.
TEST(ProgramFile, RefusesOrRunsEveryChangedByte) {
  const std::vector<std::uint8_t> files[] = {Program(residual_network()).to_bytes(), Program(moving_network()).to_bytes()};
  Random random(71);
  int accepted = 0;
  for (int repeat = 0; repeat < (kSlow ? 4000 : 40000); ++repeat) {
    const std::vector<std::uint8_t>& bytes = files[repeat % 2];
    std::vector<std::uint8_t> damaged = bytes;
    for (Index changes = random.between(1, 3); changes > 0; --changes) {
      const auto at = static_cast<std::size_t>(random.between(16, static_cast<Index>(bytes.size()) - 9));
      damaged[at] = random.one_in(0.3) ? 0xff : static_cast<std::uint8_t>(random.bits());
    }
    const std::size_t body = damaged.size() - 8;
    const std::uint64_t mark = fingerprint(std::as_bytes(std::span(damaged).first(body)));
    std::memcpy(damaged.data() + body, &mark, sizeof mark);
    try {
      auto program = std::make_shared<Program>(Program::from_bytes(damaged));
      ++accepted;
      if (program->elements(program->inputs()[0], 1) > 1000) continue;
      std::vector<std::vector<float>> in, out;
      for (const Index value : program->inputs()) in.emplace_back(program->elements(value, 1), 1.0f);
      for (const Index value : program->outputs()) out.emplace_back(program->elements(value, 1));
      std::vector<const float*> from;
      std::vector<float*> to;
      for (const auto& a : in) from.push_back(a.data());
      for (auto& a : out) to.push_back(a.data());
      Session(program, 1).run(1, from, to);
    } catch (const std::invalid_argument&) {
    }
  }
  EXPECT_GT(accepted, 0) << "values of weights may be anything";
}

TEST(ProgramFile, SaysWhatItCannotRead) {
  std::vector<std::uint8_t> bytes = Program(residual_network()).to_bytes();
  bytes[8] = 9;
  EXPECT_REFUSED(Program::from_bytes(bytes), "has version 9; this library reads version 2");
  bytes[8] = 2;
  bytes[40] ^= 1;
  EXPECT_REFUSED(Program::from_bytes(bytes), "fingerprint");
  bytes[0] = 'x';
  EXPECT_REFUSED(Program::from_bytes(bytes), "no file of a compiled model");
}

}  // namespace
}  // namespace sparse_engine
