#include "base/workspace.hpp"

#include <cstdlib>
#include <new>

#include "base/check.hpp"

namespace sparse_engine {
namespace {

struct Free {
  void operator()(float* p) const { std::free(p); }
};

struct Buffer {
  std::unique_ptr<float, Free> data;
  std::int64_t capacity = 0;
};

}  // namespace

float* room(Room which, std::int64_t floats) {
  thread_local Buffer buffers[3];
  Buffer& buffer = buffers[static_cast<int>(which)];
  if (buffer.capacity < floats) {
    const std::int64_t rounded = checked_mul((checked_add(floats, 15, "buffer") / 16), 16, "buffer");
    const std::int64_t bytes = checked_mul(rounded, sizeof(float), "buffer");
    buffer = Buffer{};
    float* data = static_cast<float*>(std::aligned_alloc(64, static_cast<std::size_t>(bytes)));
    if (data == nullptr) throw std::bad_alloc();
    buffer.data.reset(data);
    buffer.capacity = rounded;
  }
  return buffer.data.get();
}

}  // namespace sparse_engine
