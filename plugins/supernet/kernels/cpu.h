// Kernels for the CPU, over rows of channels: float32, channels-last. `cpu.cpp` is compiled once
// for each instruction set. Nothing here knows libtorch or threads.

#pragma once

#include <cstdint>

namespace pleach {

// What follows a batch norm.
enum class Activation : int { None = 0, Relu = 1, Relu6 = 2 };

// A depthwise convolution of square kernels without dilation.
struct Depthwise {
  int64_t channels, height, width, out_height, out_width, kernel, stride, padding;
};

struct Kernels {
  const char *name;

  // Adds to `sums` and `squares` those of `input - origin`, channel by channel.
  void (*moments)(
      const float *input, const float *origin, int64_t rows, int64_t channels, double *sums, double *squares);

  // output = activation(input * factor + offset).
  void (*affine)(
      const float *input, const float *factor, const float *offset, Activation activation, int64_t rows,
      int64_t channels, float *output);

  // Adds to `sums` the gradients that pass the activation, and to `products` their products with
  // `input - mean`.
  void (*gradient_moments)(
      const float *input, const float *gradient, const float *factor, const float *offset, const float *mean,
      Activation activation, int64_t rows, int64_t channels, double *sums, double *products);

  // output = gradient that passes the activation * factor + input * slope + level.
  void (*gradient_affine)(
      const float *input, const float *gradient, const float *factor, const float *offset, const float *slope,
      const float *level, Activation activation, int64_t rows, int64_t channels, float *output);

  // Adds to `weight`, of shape (kernel, kernel, channels), its gradient over some images; false
  // for kernels and strides that it is not made for.
  bool (*depthwise_weight)(
      const Depthwise &shape, const float *input, const float *gradient, int64_t images, float *weight);
};

#ifdef PLEACH_X86
extern const Kernels avx2;
extern const Kernels avx512;
#endif

} // namespace pleach
