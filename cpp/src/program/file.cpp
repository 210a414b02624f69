// The file of a program: little-endian, every length before what it counts, a fingerprint of all at the end.
//
//   "sparse\x1e\n"  version u32  reserved u32
//   values, constants, weights, nodes, inputs, outputs, about: count u64, then each
//   fingerprint u64 of everything before it
//
// Floats, of constants and weights, are stored as the narrowest type that holds them exactly, whose number (ValueType, u32)
// comes before them.
//
// A reader refuses what it does not know: there are no sections to skip.
#include <bit>
#include <cstring>

#include "base/check.hpp"
#include "base/exact_type.hpp"
#include "sparse_engine/fingerprint.hpp"
#include "sparse_engine/program.hpp"

namespace sparse_engine {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian; this machine would have to swap");

constexpr char kMagic[8] = {'s', 'p', 'a', 'r', 's', 'e', '\x1e', '\n'};
constexpr std::uint32_t kVersion = 2;

class Writer {
 public:
  void raw(const void* data, std::size_t bytes) {
    const auto* from = static_cast<const std::uint8_t*>(data);
    out.insert(out.end(), from, from + bytes);
  }
  template <class T>
  void number(T value) {
    raw(&value, sizeof value);
  }
  template <class T>
  void array(const std::vector<T>& values) {
    number<std::uint64_t>(values.size());
    raw(values.data(), values.size() * sizeof(T));
  }
  void floats(const std::vector<float>& values) {
    const ValueType type = exact_type(values);
    number(static_cast<std::uint32_t>(type));
    if (type == ValueType::float32) return array(values);
    std::vector<std::uint16_t> bits(values.size());
    const bool brain = type == ValueType::bfloat16;
    std::ranges::transform(values, bits.begin(),
                           [brain](float v) { return brain ? rounded<BFloat16>(v).bits : rounded<Float16>(v).bits; });
    array(bits);
  }
  void text(const std::string& s) {
    number<std::uint64_t>(s.size());
    raw(s.data(), s.size());
  }

  std::vector<std::uint8_t> out;
};

class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  void raw(void* target, std::size_t bytes) {
    check(bytes <= left(), "the file ends within a part of ", bytes, " bytes; ", left(), " are left");
    if (bytes != 0) std::memcpy(target, bytes_.data() + at_, bytes);
    at_ += bytes;
  }
  template <class T>
  T number() {
    T value;
    raw(&value, sizeof value);
    return value;
  }
  // How many parts follow, each at least `least` bytes long: never more than can be there.
  std::size_t count(std::size_t least) {
    const auto n = number<std::uint64_t>();
    check(n <= left() / least, "the file announces ", n, " parts of at least ", least, " bytes; ", left(), " bytes are left");
    return static_cast<std::size_t>(n);
  }
  template <class T>
  std::vector<T> array() {
    std::vector<T> values(count(sizeof(T)));
    raw(values.data(), values.size() * sizeof(T));
    return values;
  }
  std::vector<float> floats() {
    const auto type = static_cast<ValueType>(number<std::uint32_t>());
    if (type == ValueType::float32) return array<float>();
    const bool brain = type == ValueType::bfloat16;
    check(brain || type == ValueType::float16, "the file has numbers of type ", static_cast<std::uint32_t>(type),
          "; there is no such type");
    const std::vector<std::uint16_t> bits = array<std::uint16_t>();
    std::vector<float> values(bits.size());
    std::ranges::transform(bits, values.begin(),
                           [brain](std::uint16_t b) { return brain ? widened(BFloat16{b}) : widened(Float16{b}); });
    return values;
  }
  std::string text() {
    std::string s(count(1), '\0');
    raw(s.data(), s.size());
    return s;
  }
  std::size_t left() const { return bytes_.size() - at_; }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
};

}  // namespace

std::vector<std::uint8_t> Program::to_bytes() const {
  const ProgramParts& p = parts_;
  Writer w;
  w.raw(kMagic, sizeof kMagic);
  w.number(kVersion);
  w.number(std::uint32_t{0});
  w.number<std::uint64_t>(p.values.size());
  for (const ValueInfo& value : p.values) {
    w.text(value.name);
    w.array(value.shape);
    w.number(value.constant);
  }
  w.number<std::uint64_t>(p.constants.size());
  for (const std::vector<float>& constant : p.constants) w.floats(constant);
  w.number<std::uint64_t>(p.weights.size());
  for (const WeightInfo& weight : p.weights) {
    w.number(weight.rows);
    w.number(weight.cols);
    w.array(weight.mask);
    w.floats(weight.values);
  }
  w.number<std::uint64_t>(p.nodes.size());
  for (const NodeInfo& node : p.nodes) {
    w.text(std::string(name_of(node.operation)));
    w.text(node.name);
    w.array(node.inputs);
    w.number(node.output);
    w.number(node.weight);
    w.number(node.bias);
    w.number(node.residual);
    w.number(static_cast<std::uint32_t>(node.activation.kind));
    w.number(node.activation.slope);
    w.array(node.numbers);
  }
  w.array(p.inputs);
  w.array(p.outputs);
  w.text(p.about);
  w.number(fingerprint(std::as_bytes(std::span(w.out))));
  return std::move(w.out);
}

Program Program::from_bytes(std::span<const std::uint8_t> bytes) {
  Reader r(bytes);
  char magic[sizeof kMagic] = {};
  if (bytes.size() >= sizeof kMagic + 2 * sizeof(std::uint32_t) + sizeof(std::uint64_t)) r.raw(magic, sizeof magic);
  check(std::memcmp(magic, kMagic, sizeof kMagic) == 0, "this is no file of a compiled model");
  const auto version = r.number<std::uint32_t>(), reserved = r.number<std::uint32_t>();
  check(version == kVersion && reserved == 0, "the file has version ", version, "; this library reads version ", kVersion,
        ": compile the model again");
  const std::size_t body = bytes.size() - sizeof(std::uint64_t);
  std::uint64_t written;
  std::memcpy(&written, bytes.data() + body, sizeof written);
  check(fingerprint(std::as_bytes(bytes.first(body))) == written,
        "the file is damaged: its fingerprint is another than it says");
  r = Reader(bytes.first(body));
  r.raw(magic, sizeof magic);
  r.number<std::uint64_t>();
  ProgramParts p;
  p.values.resize(r.count(24));
  for (ValueInfo& value : p.values) {
    value.name = r.text();
    value.shape = r.array<Size>();
    value.constant = r.number<Index>();
  }
  p.constants.resize(r.count(12));
  for (std::vector<float>& constant : p.constants) constant = r.floats();
  p.weights.resize(r.count(36));
  for (WeightInfo& weight : p.weights) {
    weight.rows = r.number<Index>();
    weight.cols = r.number<Index>();
    weight.mask = r.array<std::uint8_t>();
    weight.values = r.floats();
  }
  const std::size_t nodes = r.count(72);
  for (std::size_t i = 0; i < nodes; ++i) {
    NodeInfo node{.operation = operation_named(r.text()), .name = r.text(), .inputs = r.array<Index>(), .numbers = {}};
    node.output = r.number<Index>();
    node.weight = r.number<Index>();
    node.bias = r.number<Index>();
    node.residual = r.number<Index>();
    const auto kind = static_cast<Activation::Kind>(r.number<std::uint32_t>());
    node.activation = {kind, r.number<float>()};
    node.numbers = r.array<Index>();
    p.nodes.push_back(std::move(node));
  }
  p.inputs = r.array<Index>();
  p.outputs = r.array<Index>();
  p.about = r.text();
  check(r.left() == 0, "the file has ", r.left(), " bytes too many");
  return Program(std::move(p));
}

}  // namespace sparse_engine
