// Memory that notices an access past either of its ends.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>

namespace sparse_engine::reference {

// An array between two pages that cannot be touched, flush with one of them: an access one element past that side ends the
// process. The rest of its pages holds a pattern, which untouched() checks for writes past the other side.
enum class Flush { end, beginning };

template <class T>
class Guarded {
 public:
  Guarded(std::span<const T> content, Flush side) : count_(content.size()) {
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    room_ = std::max<std::size_t>(1, (content.size_bytes() + page - 1) / page) * page;
    total_ = room_ + 2 * page;
    void* map = mmap(nullptr, total_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) throw std::bad_alloc();
    map_ = static_cast<unsigned char*>(map);
    room_begin_ = map_ + page;
    if (mprotect(room_begin_, room_, PROT_READ | PROT_WRITE) != 0) std::abort();
    std::memset(room_begin_, kPattern, room_);
    data_ = reinterpret_cast<T*>(side == Flush::end ? room_begin_ + room_ - content.size_bytes() : room_begin_);
    std::copy(content.begin(), content.end(), data_);
  }
  ~Guarded() { munmap(map_, total_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return data_; }
  std::span<T> span() { return {data_, count_}; }
  bool untouched() const {
    const auto* first = reinterpret_cast<const unsigned char*>(data_);
    const auto is_pattern = [](unsigned char byte) { return byte == kPattern; };
    return std::all_of(static_cast<const unsigned char*>(room_begin_), first, is_pattern) &&
           std::all_of(first + count_ * sizeof(T), static_cast<const unsigned char*>(room_begin_) + room_, is_pattern);
  }

 private:
  static constexpr unsigned char kPattern = 0xa5;
  std::size_t count_, room_, total_;
  unsigned char* map_;
  unsigned char* room_begin_;
  T* data_;
};

}  // namespace sparse_engine::reference
