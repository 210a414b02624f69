// Views and argument structs shared by the whole library. Fields only: what is done with them lives in cpp/src.
#pragma once

#include <cstdint>

namespace sparse_engine {

using Index = std::int64_t;

// What a matrix keeps its weights as. Arithmetic is float32 whatever that is. int8 comes with one scale per row.
enum class ValueType { float32, bfloat16, float16, int8 };

struct BFloat16 {
  std::uint16_t bits;  // the upper half of a float32
};

struct Float16 {
  std::uint16_t bits;  // IEEE binary16
};

// Applied to every output last. NaN passes through; gelu is x·Φ(x), without approximation, and
// gelu_tanh its approximation by tanh (Hendrycks and Gimpel, 2016); what would be 0·∞ is its limit.
struct Activation {
  enum Kind : std::uint32_t {
    none,
    relu,
    relu6,
    gelu,
    silu,
    sigmoid,
    tanh,
    hardswish,
    hardsigmoid,
    leaky_relu,  // x, or slope · x below 0
    elu,         // x, or slope · (exp(x) − 1) below 0
    mish,
    softplus,
    exp,
    sqrt,
    log,
    floor,
    erf,
    sin,
    cos,
    gelu_tanh
  };
  static constexpr Kind kLast = gelu_tanh;

  Kind kind = none;
  float slope = 0.0f;  // of leaky_relu and elu

  constexpr Activation(Kind k = none) : kind(k), slope(k == leaky_relu ? 0.01f : 1.0f) {}
  constexpr Activation(Kind k, float s) : kind(k), slope(s) {}
  constexpr operator Kind() const { return kind; }
};

// What happens to every sum on its way to y: activation(sum + bias + residual).
struct Epilogue {
  const float* bias = nullptr;      // one per row of W
  const float* residual = nullptr;  // laid out as y is; may be y itself
  Activation activation = Activation::none;
};

// A strided dense matrix: element (r, c) is data[r * row_stride + c * column_stride]. Strides are in elements and may be
// negative or zero (views of the caller's arrays are taken as they come).
struct ConstPanel {
  const float* data;
  Index rows;
  Index columns;
  Index row_stride;
  Index column_stride;
};

struct Panel {
  float* data;
  Index rows;
  Index columns;
  Index row_stride;
  Index column_stride;
};

// A batch of feature maps: element (n, c, h, w) is data[n * stride_n + c * stride_c + h * stride_h + w * stride_w], so NCHW and
// channels_last differ in strides only.
struct ConstImages {
  const float* data;
  Index batch, channels, height, width;
  Index stride_n, stride_c, stride_h, stride_w;
};

struct Images {
  float* data;
  Index batch, channels, height, width;
  Index stride_n, stride_c, stride_h, stride_w;
};

// A batch of volumes, whose slices are feature maps: element (n, c, d, h, w) likewise.
struct ConstVolumes {
  const float* data;
  Index batch, channels, depth, height, width;
  Index stride_n, stride_c, stride_d, stride_h, stride_w;
};

struct Volumes {
  float* data;
  Index batch, channels, depth, height, width;
  Index stride_n, stride_c, stride_d, stride_h, stride_w;
};

struct Conv2dParams {
  Index kernel_h, kernel_w;
  Index stride_h = 1, stride_w = 1;
  Index pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  Index dilation_h = 1, dilation_w = 1;
  Index groups = 1;
};

struct Conv3dParams {
  Index kernel_d;
  Index stride_d = 1;
  Index pad_front = 0, pad_back = 0;
  Index dilation_d = 1;
  Conv2dParams plane;  // along height and width; the groups of both
};

}  // namespace sparse_engine
