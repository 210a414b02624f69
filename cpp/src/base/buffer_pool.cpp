#include "sparse_engine/buffer_pool.hpp"

#include <algorithm>
#include <bit>
#include <deque>
#include <mutex>

#include "base/aligned_array.hpp"
#include "base/check.hpp"
#include "base/tuning.hpp"

namespace sparse_engine {
namespace {

constexpr std::size_t kLineBytes = 64;

// Sizes that share buffers: eight to each doubling, so that at most an eighth is wasted.
std::size_t rounded(std::size_t bytes) {
  const std::size_t step = std::max(std::bit_floor(bytes) / 8, kLineBytes);
  return (bytes + step - 1) / step * step;
}

class Kept {
 public:
  // Null when none of this size is kept.
  float* take(std::size_t bytes) {
    std::lock_guard lock(mutex_);
    for (auto it = free_.rbegin(); it != free_.rend(); ++it) {  // the last one given back is the likeliest in the cache
      if (it->bytes != bytes) continue;
      float* data = it->data;
      free_.erase(std::next(it).base());
      total_ -= bytes;
      return data;
    }
    return nullptr;
  }

  void give(float* data, std::size_t bytes) {
    std::lock_guard lock(mutex_);
    free_.push_back({data, bytes});
    total_ += bytes;
    shrink(kKeptBytes);
  }

  void release() {
    std::lock_guard lock(mutex_);
    shrink(0);
  }

 private:
  void shrink(std::size_t limit) {  // the oldest go first
    for (; total_ > limit || free_.size() > (limit == 0 ? 0 : static_cast<std::size_t>(tuning().kept_buffers));
         free_.pop_front()) {
      total_ -= free_.front().bytes;
      free_array(free_.front().data);
    }
  }

  struct Buffer {
    float* data;
    std::size_t bytes;
  };
  std::mutex mutex_;
  std::deque<Buffer> free_;
  std::size_t total_ = 0;
};

Kept& kept() {
  static Kept* const buffers = new Kept;  // never destroyed: results may outlive every static
  return *buffers;
}

}  // namespace

std::shared_ptr<float[]> result_buffer(Index floats) {
  check(floats >= 0, "a result of ", floats, " elements; the number must not be negative");
  const auto asked = static_cast<std::size_t>(checked_mul(std::max<Index>(floats, 1), sizeof(float), "result"));
  check(asked < (std::size_t{1} << 62), "a result of ", floats, " elements is too large");
  const std::size_t bytes = rounded(asked);
  float* data = kept().take(bytes);
  if (data == nullptr) data = static_cast<float*>(allocate_array(bytes));
  return {data, [bytes](float* p) { kept().give(p, bytes); }};
}

void release_buffers() { kept().release(); }

}  // namespace sparse_engine
