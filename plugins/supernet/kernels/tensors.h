// What `layers.cpp` and the chains of both devices need of tensors.

#pragma once

#include "cpu.h"

#include <ATen/core/Tensor.h>

#include <optional>
#include <utility>
#include <vector>

namespace pleach {

// Those of the best instruction set that this processor has; null for none.
const Kernels *detected();

bool is_plain(const at::Tensor &tensor);
bool is_channels_last(const at::Tensor &tensor);
bool is_vector(const at::Tensor *tensor);

inline const float *data(const at::Tensor &tensor) { return tensor.const_data_ptr<float>(); }

// A tensor on the CPU, channels-last, of whatever numbers are there.
at::Tensor room_for(int64_t images, int64_t channels, int64_t height, int64_t width);

// What a batch norm multiplies by and adds, and what its backward pass needs of its statistics.
struct Normal {
  at::Tensor factor, offset, mean, deviation;
};

// The parameters of a batch norm, and the running statistics that follow its batches; null for
// what it does not have.
struct Parameters {
  const at::Tensor *scale, *shift, *running_mean, *running_variance;
  double momentum, epsilon;
};

// By sums of differences from `origin` over `rows` rows and of their squares, of shape (2, channels);
// the running statistics follow.
Normal normal_of_moments(
    const double *sums, const float *origin, int64_t rows, int64_t channels, const Parameters &parameters);

// What a batch norm's backward pass multiplies its input by and adds, beside the gradient times its
// factor; and the gradients of its own parameters.
struct NormGradient {
  at::Tensor slope, level, of_scale, of_shift;
};

// By the sums of `gradient_moments` over `rows` rows, of shape (2, channels).
NormGradient gradient_of_moments(const double *sums, int64_t rows, const Normal &normal);

// Of a convolution that reads images of shape (channels, height, width).
Depthwise shape_of(at::IntArrayRef image, int64_t kernel, int64_t stride, int64_t padding);

// The least and the most that an activation gives.
std::pair<float, float> bounds_of(Activation activation);

// A depthwise weight as the kernels take it, of shape (kernel * kernel, channels and zeros).
at::Tensor taps_of(const at::Tensor &weight);

inline std::optional<at::Tensor> optional(const at::Tensor *tensor) {
  return tensor ? std::optional<at::Tensor>(*tensor) : std::nullopt;
}

} // namespace pleach
