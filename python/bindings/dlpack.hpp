// The part of DLPack's C interface by which tensors are looked at and made without Python code in between.
//
// Source   DLPack, versions 1.x: the layout of the structures is the standard's, the names are ours.
#pragma once

#include <cstdint>

namespace sparse_engine::bindings::dlpack {

inline constexpr std::uint32_t kMajor = 1, kMinor = 0;  // what is written here; a reader's minor version may be any
inline constexpr std::int32_t kCpu = 1;
inline constexpr std::uint8_t kFloat = 2;
inline constexpr const char* kExchangeName = "dlpack_exchange_api";  // of the capsule

struct Version {
  std::uint32_t major, minor;
};

struct Device {
  std::int32_t type, number;
};

struct Type {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t rank;
  Type type;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: contiguous
  std::uint64_t byte_offset;
};

struct OwnedTensor {
  Version version;
  void* owner;
  void (*release)(OwnedTensor*);
  std::uint64_t flags;
  Tensor tensor;
};

// What a library hands out for its own tensors. Functions return 0, or -1 with a Python error set.
struct Exchange {
  Version version;
  Exchange* older;
  void* allocate;
  void* own;
  int (*make)(OwnedTensor* takes, void** object);  // takes over what it is given, also when it fails
  int (*look_at)(void* object, Tensor* borrowed);  // what is borrowed lives as long as the object; may be null
  void* stream;
};

}  // namespace sparse_engine::bindings::dlpack
