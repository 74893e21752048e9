#include "tensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

using at::Tensor;

namespace pleach {

const Kernels *detected() {
#ifdef PLEACH_X86
  static const Kernels *const best = [] {
    if (__builtin_cpu_supports("avx512f")) {
      return &avx512;
    }
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &avx2 : nullptr;
  }();
  return best;
#else
  return nullptr;
#endif
}

bool is_plain(const Tensor &tensor) { return tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat; }

bool is_channels_last(const Tensor &tensor) {
  return is_plain(tensor) && tensor.dim() == 4 && tensor.numel() > 0 &&
      tensor.is_contiguous(at::MemoryFormat::ChannelsLast);
}

bool is_vector(const Tensor *tensor) { return tensor == nullptr || (is_plain(*tensor) && tensor->is_contiguous()); }

Tensor room_for(int64_t images, int64_t channels, int64_t height, int64_t width) {
  return at::empty({images, channels, height, width}, at::kFloat, at::MemoryFormat::ChannelsLast);
}

namespace {

Normal normal_of(const Tensor &mean, const Tensor &deviation, const Tensor *scale, const Tensor *shift) {
  const int64_t channels = mean.size(0);
  Normal normal{at::empty({channels}, mean.options()), at::empty({channels}, mean.options()), mean, deviation};
  float *factor = normal.factor.data_ptr<float>(), *offset = normal.offset.data_ptr<float>();
  for (int64_t channel = 0; channel < channels; channel++) {
    factor[channel] = (scale ? data(*scale)[channel] : 1.0f) / data(deviation)[channel];
    offset[channel] = (shift ? data(*shift)[channel] : 0.0f) - data(mean)[channel] * factor[channel];
  }
  return normal;
}

} // namespace

Normal normal_of_moments(
    const double *sums, const float *origin, int64_t rows, int64_t channels, const Parameters &parameters) {
  const Tensor mean = at::empty({channels}, at::kFloat), deviation = at::empty({channels}, at::kFloat);
  for (int64_t channel = 0; channel < channels; channel++) {
    const double moved = sums[channel] / rows;
    const double variance = std::max(sums[channels + channel] / rows - moved * moved, 0.0);
    mean.data_ptr<float>()[channel] = origin[channel] + moved;
    // What is no number stays none: `max` would lose it.
    deviation.data_ptr<float>()[channel] = std::isfinite(moved) ? std::sqrt(variance + parameters.epsilon) : NAN;
    if (parameters.running_mean) {
      float &running = parameters.running_mean->data_ptr<float>()[channel];
      running += parameters.momentum * (mean.data_ptr<float>()[channel] - running);
    }
    if (parameters.running_variance) {
      float &running = parameters.running_variance->data_ptr<float>()[channel];
      running += parameters.momentum * (variance * rows / (rows - 1) - running);
    }
  }
  return normal_of(mean, deviation, parameters.scale, parameters.shift);
}

NormGradient gradient_of_moments(const double *sums, int64_t rows, const Normal &normal) {
  const int64_t channels = normal.mean.size(0);
  const auto room = [&] { return at::empty({channels}, at::kFloat); };
  const NormGradient gradient{room(), room(), room(), room()};
  for (int64_t channel = 0; channel < channels; channel++) {
    const double sum = sums[channel], product = sums[channels + channel];
    const double factor = data(normal.factor)[channel], spread = data(normal.deviation)[channel];
    const double tilt = -factor * product / (spread * spread * rows);
    gradient.slope.data_ptr<float>()[channel] = tilt;
    gradient.level.data_ptr<float>()[channel] = -factor * sum / rows - tilt * data(normal.mean)[channel];
    gradient.of_scale.data_ptr<float>()[channel] = product / spread;
    gradient.of_shift.data_ptr<float>()[channel] = sum;
  }
  return gradient;
}

Depthwise shape_of(at::IntArrayRef image, int64_t kernel, int64_t stride, int64_t padding) {
  const auto out = [&](int64_t length) { return (length + 2 * padding - kernel) / stride + 1; };
  return {image[0], image[1], image[2], out(image[1]), out(image[2]), kernel, stride, padding};
}

std::pair<float, float> bounds_of(Activation activation) {
  const float infinity = std::numeric_limits<float>::infinity();
  return {activation == Activation::None ? -infinity : 0.0f, activation == Activation::Relu6 ? 6.0f : infinity};
}

Tensor taps_of(const Tensor &weight) {
  const int64_t channels = weight.size(0), taps = weight.size(2) * weight.size(3);
  const Tensor of = weight.contiguous(), result = at::zeros({taps, (channels + 31) / 32 * 32}, at::kFloat);
  const float *from = data(of);
  float *to = result.data_ptr<float>();
  for (int64_t tap = 0; tap < taps; tap++) {
    for (int64_t channel = 0; channel < channels; channel++) {
      to[tap * result.size(1) + channel] = from[channel * taps + tap];
    }
  }
  return result;
}

} // namespace pleach
