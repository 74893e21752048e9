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

// What is done to the input of a convolution, channel by channel: it is multiplied by `factor`,
// `offset` is added, and the result is kept between two bounds.
struct Before {
  const float *factor, *offset;
  float least, most;
};

// A depthwise convolution of one image, of shape (height, width, channels).
struct Convolution {
  Depthwise shape;
  const float *input;
  // Null for none.
  const Before *before;
  // Of shape (kernel, kernel, taps), where `taps` is no less than the channels and a multiple of 32.
  const float *weight;
  int64_t taps;
  // Null for none.
  const float *bias;
  // The result is kept between these bounds.
  float least, most;
  // As many zeros as `depthwise_window` says; may be used again for other images of the same shape.
  float *window;
  float *output;
};

// A product of rows of channels with a matrix.
struct Product {
  int64_t inputs, outputs;
  const float *input;
  // Of shape (outputs / panel, inputs, panel) with zeros at the end.
  const float *weight;
  // Null for none.
  const float *bias;
  // Whether the result is kept between two bounds.
  bool is_bounded;
  float least, most;
  float *output;
};

// The sum over rows of the products of a gradient's channels with an input's.
struct Outer {
  int64_t inputs, outputs;
  const float *gradient, *input;
  // Room for a panel of each row.
  float *window;
  // Of shape (outputs, inputs); is added to.
  float *sum;
};

struct Kernels {
  const char *name;

  // How many channels of a product's weight lie side by side.
  int64_t panel;
  void (*product)(const Product &of, int64_t rows);
  void (*add_outer)(const Outer &of, int64_t rows);

  // Adds to `sums` and `squares` those of `input - origin`, channel by channel.
  void (*moments)(
      const float *input, const float *origin, int64_t rows, int64_t channels, double *sums, double *squares);

  // output = activation(input * factor + offset) + added, which is null for none.
  void (*affine)(
      const float *input, const float *factor, const float *offset, Activation activation, const float *added,
      int64_t rows, int64_t channels, float *output);

  // Adds to `sums` the gradients that pass the activation, and to `products` their products with
  // `input - mean`.
  void (*gradient_moments)(
      const float *input, const float *gradient, const float *factor, const float *offset, const float *mean,
      Activation activation, int64_t rows, int64_t channels, double *sums, double *products);

  // output = gradient that passes the activation * factor + input * slope + level.
  void (*gradient_affine)(
      const float *input, const float *gradient, const float *factor, const float *offset, const float *slope,
      const float *level, Activation activation, int64_t rows, int64_t channels, float *output);

  // How many floats of room `depthwise` needs; 0 for kernels and strides that it is not made for.
  int64_t (*depthwise_window)(const Depthwise &shape);

  void (*depthwise)(const Convolution &of);

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
