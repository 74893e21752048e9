// Layers whose kernels are our own, as libtorch's autograd sees them. Each says whether it is made
// for what it is given; the caller has libtorch's own layer for the rest.

#include "cpu.h"
#include "errors.h"

#include <ATen/Parallel.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <limits>

using at::Tensor;
using pleach::Activation;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Those of the best instruction set that this processor has; null for none.
const pleach::Kernels *detected() {
#ifdef PLEACH_X86
  static const pleach::Kernels *const best = [] {
    if (__builtin_cpu_supports("avx512f")) {
      return &pleach::avx512;
    }
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &pleach::avx2 : nullptr;
  }();
  return best;
#else
  return nullptr;
#endif
}

// Fewer numbers than this are not worth another thread.
constexpr int64_t GRAIN = 16384;

bool is_plain(const Tensor &tensor) {
  return tensor.device().is_cpu() && tensor.scalar_type() == at::kFloat;
}

bool is_channels_last(const Tensor &tensor) {
  return is_plain(tensor) && tensor.dim() == 4 && tensor.numel() > 0 &&
      tensor.is_contiguous(at::MemoryFormat::ChannelsLast);
}

bool is_vector(const Tensor *tensor) { return tensor == nullptr || (is_plain(*tensor) && tensor->is_contiguous()); }

const float *data(const Tensor &tensor) { return tensor.const_data_ptr<float>(); }

// Sums over rows, which `body(begin, end, first, second)` adds to; by the threads' order, so the
// same number of threads gives the same sums.
template <class Body>
std::vector<double> sums_over(int64_t rows, int64_t channels, const Body &body) {
  const int64_t threads = at::get_num_threads();
  std::vector<double> parts(threads * 2 * channels, 0.0);
  at::parallel_for(0, rows, std::max<int64_t>(1, GRAIN / channels), [&](int64_t begin, int64_t end) {
    double *part = parts.data() + at::get_thread_num() * 2 * channels;
    body(begin, end, part, part + channels);
  });
  for (int64_t index = 0; index < 2 * channels; index++) {
    for (int64_t thread = 1; thread < threads; thread++) {
      parts[index] += parts[thread * 2 * channels + index];
    }
  }
  parts.resize(2 * channels);
  return parts;
}

template <class Body> void over_rows(int64_t rows, int64_t channels, const Body &body) {
  at::parallel_for(0, rows, std::max<int64_t>(1, GRAIN / channels), body);
}

// What a batch norm multiplies by and adds, and what its backward pass needs of its statistics.
struct Normal {
  Tensor factor, offset, mean, deviation;
};

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

// The parameters of a batch norm, and the running statistics that follow its batches; null for
// what it does not have.
struct Parameters {
  const Tensor *scale, *shift, *running_mean, *running_variance;
  double momentum, epsilon;
};

// Sums of differences from `origin` over all rows, and of their squares. Differences from some
// image's values keep digits that the values would lose.
std::vector<double> moments_of(const Tensor &input, const float *origin) {
  const int64_t channels = input.size(1), rows = input.numel() / channels;
  return sums_over(rows, channels, [&](int64_t begin, int64_t end, double *sum, double *square) {
    detected()->moments(data(input) + begin * channels, origin, end - begin, channels, sum, square);
  });
}

// By the moments of `rows` rows, which the running statistics follow.
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

Normal normal_of_batch(const Tensor &input, const Parameters &parameters) {
  const int64_t channels = input.size(1);
  const std::vector<double> sums = moments_of(input, data(input));
  return normal_of_moments(sums.data(), data(input), input.numel() / channels, channels, parameters);
}

Tensor normalised(const Tensor &input, const Normal &normal, Activation activation) {
  const int64_t channels = input.size(1), rows = input.numel() / channels;
  const Tensor output = at::empty_like(input, at::MemoryFormat::ChannelsLast);
  float *to = output.data_ptr<float>();
  over_rows(rows, channels, [&](int64_t begin, int64_t end) {
    detected()->affine(
        data(input) + begin * channels, data(normal.factor), data(normal.offset), activation, end - begin, channels,
        to + begin * channels);
  });
  return output;
}

struct BatchNorm : torch::autograd::Function<BatchNorm> {
  static Tensor forward(
      AutogradContext *context, const Tensor &input, const std::optional<Tensor> &scale,
      const std::optional<Tensor> &shift, const Tensor *running_mean, const Tensor *running_variance, double momentum,
      double epsilon, int64_t activation) {
    const Normal normal = normal_of_batch(
        input,
        {scale ? &*scale : nullptr, shift ? &*shift : nullptr, running_mean, running_variance, momentum, epsilon});
    context->save_for_backward({input, normal.factor, normal.offset, normal.mean, normal.deviation});
    context->saved_data["activation"] = activation;
    context->saved_data["scaled"] = scale.has_value();
    context->saved_data["shifted"] = shift.has_value();
    return normalised(input, normal, static_cast<Activation>(activation));
  }

  static variable_list backward(AutogradContext *context, const variable_list &gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor &input = saved[0], &factor = saved[1], &offset = saved[2], &mean = saved[3], &deviation = saved[4];
    const auto activation = static_cast<Activation>(context->saved_data["activation"].toInt());
    const int64_t channels = input.size(1), rows = input.numel() / channels;
    const Tensor gradient = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
    const std::vector<double> sums =
        sums_over(rows, channels, [&](int64_t begin, int64_t end, double *sum, double *product) {
          detected()->gradient_moments(
              data(input) + begin * channels, data(gradient) + begin * channels, data(factor), data(offset), data(mean),
              activation, end - begin, channels, sum, product);
        });
    const Tensor slope = at::empty_like(mean), level = at::empty_like(mean);
    Tensor of_scale = at::empty_like(mean), of_shift = at::empty_like(mean);
    for (int64_t channel = 0; channel < channels; channel++) {
      const double sum = sums[channel], product = sums[channels + channel];
      const double spread = data(deviation)[channel], middle = data(mean)[channel];
      const double tilt = -data(factor)[channel] * product / (spread * spread * rows);
      slope.data_ptr<float>()[channel] = tilt;
      level.data_ptr<float>()[channel] = -data(factor)[channel] * sum / rows - tilt * middle;
      of_scale.data_ptr<float>()[channel] = product / spread;
      of_shift.data_ptr<float>()[channel] = sum;
    }
    // libtorch wants none for what was not there.
    of_scale = context->saved_data["scaled"].toBool() ? of_scale : Tensor();
    of_shift = context->saved_data["shifted"].toBool() ? of_shift : Tensor();
    Tensor of_input;
    if (context->needs_input_grad(0)) {
      of_input = at::empty_like(input, at::MemoryFormat::ChannelsLast);
      float *to = of_input.data_ptr<float>();
      over_rows(rows, channels, [&](int64_t begin, int64_t end) {
        detected()->gradient_affine(
            data(input) + begin * channels, data(gradient) + begin * channels, data(factor), data(offset), data(slope),
            data(level), activation, end - begin, channels, to + begin * channels);
      });
    }
    return {of_input, of_scale, of_shift, {}, {}, {}, {}, {}};
  }
};

pleach::Depthwise shape_of(const Tensor &input, const Tensor &weight, int64_t stride, int64_t padding) {
  const int64_t height = input.size(2), width = input.size(3), kernel = weight.size(3);
  const auto out = [&](int64_t length) { return (length + 2 * padding - kernel) / stride + 1; };
  return {input.size(1), height, width, out(height), out(width), kernel, stride, padding};
}

// The least and the most that an activation gives.
std::pair<float, float> bounds_of(Activation activation) {
  const float infinity = std::numeric_limits<float>::infinity();
  return {activation == Activation::None ? -infinity : 0.0f, activation == Activation::Relu6 ? 6.0f : infinity};
}

// A depthwise weight as the kernels take it, of shape (kernel * kernel, channels and zeros).
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

// At least so many rows of a result are computed in one go: each go takes the rows around them anew.
constexpr int64_t BAND = 16;

// A depthwise convolution with what is done before and after it; undefined where there is no kernel for it.
Tensor convolved(
    const Tensor &input, const pleach::Depthwise &shape, const pleach::Before *before, const Tensor &taps,
    const float *bias, Activation activation) {
  const int64_t room = detected()->depthwise_window(shape);
  if (room == 0) {
    return {};
  }
  const int64_t images = input.size(0), bands = std::max<int64_t>(1, shape.out_height / BAND);
  const Tensor output = at::empty(
      {images, shape.channels, shape.out_height, shape.out_width}, input.options(), at::MemoryFormat::ChannelsLast);
  const auto [least, most] = bounds_of(activation);
  float *to = output.data_ptr<float>();
  at::parallel_for(0, images * bands, 1, [&, least = least, most = most](int64_t begin, int64_t end) {
    std::vector<float> window(room);
    for (int64_t job = begin; job < end; job++) {
      const int64_t image = job / bands, band = job % bands;
      detected()->depthwise(
          {shape, data(input) + image * shape.height * shape.width * shape.channels, before, data(taps), taps.size(1),
           bias, least, most, window.data(), to + image * shape.out_height * shape.out_width * shape.channels},
          band * shape.out_height / bands, (band + 1) * shape.out_height / bands);
    }
  });
  return output;
}

// The gradient of a depthwise convolution's weight; undefined where there is no kernel for it.
Tensor depthwise_weight(const Tensor &input, const Tensor &gradient, const pleach::Depthwise &shape) {
  const int64_t images = input.size(0), taps = shape.kernel * shape.kernel;
  // By the threads' order: the same number of threads gives the same sums.
  const Tensor parts = at::zeros({at::get_num_threads(), taps, shape.channels}, at::kFloat);
  float *to = parts.data_ptr<float>();
  std::atomic<bool> is_known{true};
  at::parallel_for(0, images, 1, [&](int64_t begin, int64_t end) {
    const bool known = detected()->depthwise_weight(
        shape, data(input) + begin * shape.height * shape.width * shape.channels,
        data(gradient) + begin * shape.out_height * shape.out_width * shape.channels, end - begin,
        to + at::get_thread_num() * taps * shape.channels);
    if (!known) {
      is_known = false;
    }
  });
  if (!is_known) {
    return {};
  }
  return parts.sum(0).t().contiguous().view({shape.channels, 1, shape.kernel, shape.kernel});
}

struct DepthwiseConvolution : torch::autograd::Function<DepthwiseConvolution> {
  static Tensor forward(
      AutogradContext *context, const Tensor &input, const Tensor &weight, int64_t stride, int64_t padding) {
    context->save_for_backward({input, weight});
    context->saved_data["stride"] = stride;
    context->saved_data["padding"] = padding;
    return at::convolution(
        input, weight, {}, {stride, stride}, {padding, padding}, {1, 1}, false, {0, 0}, input.size(1));
  }

  static variable_list backward(AutogradContext *context, const variable_list &gradients) {
    const variable_list saved = context->get_saved_variables();
    const Tensor &input = saved[0], &weight = saved[1];
    const int64_t stride = context->saved_data["stride"].toInt(), padding = context->saved_data["padding"].toInt();
    const Tensor gradient = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
    Tensor of_weight;
    if (context->needs_input_grad(1)) {
      of_weight = depthwise_weight(input, gradient, shape_of(input, weight, stride, padding));
    }
    const bool input_needed = context->needs_input_grad(0);
    const bool weight_needed = context->needs_input_grad(1) && !of_weight.defined();
    Tensor of_input;
    if (input_needed || weight_needed) {
      const auto both = at::convolution_backward(
          gradient, input, weight, std::nullopt, {stride, stride}, {padding, padding}, {1, 1}, false, {0, 0},
          input.size(1), {input_needed, weight_needed, false});
      of_input = std::get<0>(both);
      of_weight = weight_needed ? std::get<1>(both) : of_weight;
    }
    return {of_input, of_weight, {}, {}};
  }
};

std::optional<Tensor> optional(const Tensor *tensor) { return tensor ? std::optional<Tensor>(*tensor) : std::nullopt; }

} // namespace

extern "C" {

// The instruction set of the kernels that this processor runs; null for none.
const char *pleach_kernels() { return detected() ? detected()->name : nullptr; }

// Batch norm and what follows it, by the batch's statistics. `output` is null where libtorch has
// to do it.
char *pleach_batch_norm(
    const Tensor *input, const Tensor *scale, const Tensor *shift, const Tensor *running_mean,
    const Tensor *running_variance, double momentum, double epsilon, int activation, Tensor **output) {
  *output = nullptr;
  return pleach::guarded([&] {
    if (!detected() || !is_channels_last(*input) || input->numel() == input->size(1) || !is_vector(scale) ||
        !is_vector(shift) || !is_vector(running_mean) || !is_vector(running_variance)) {
      return;
    }
    if (at::GradMode::is_enabled()) {
      *output = new Tensor(BatchNorm::apply(
          *input, optional(scale), optional(shift), running_mean, running_variance, momentum, epsilon, activation));
    } else {
      const Normal normal =
          normal_of_batch(*input, {scale, shift, running_mean, running_variance, momentum, epsilon});
      *output = new Tensor(normalised(*input, normal, static_cast<Activation>(activation)));
    }
  });
}

// Adds to `sums`, of shape (2, channels), what a piece of a batch adds to its moments about `origin`.
char *pleach_add_moments(const Tensor *piece, const Tensor *origin, const Tensor *sums) {
  return pleach::guarded([&] {
    const Tensor rows = piece->contiguous(at::MemoryFormat::ChannelsLast);
    const std::vector<double> added = moments_of(rows, data(*origin));
    double *to = sums->data_ptr<double>();
    for (size_t index = 0; index < added.size(); index++) {
      to[index] += added[index];
    }
  });
}

// What a batch norm multiplies by and adds, by the moments of all pieces.
char *pleach_normal(
    const Tensor *sums, const Tensor *origin, int64_t rows, const Tensor *scale, const Tensor *shift,
    const Tensor *running_mean, const Tensor *running_variance, double momentum, double epsilon, Tensor **factor,
    Tensor **offset) {
  *factor = *offset = nullptr;
  return pleach::guarded([&] {
    const Normal normal = normal_of_moments(
        sums->const_data_ptr<double>(), data(*origin), rows, origin->numel(),
        {scale, shift, running_mean, running_variance, momentum, epsilon});
    *factor = new Tensor(normal.factor);
    *offset = new Tensor(normal.offset);
  });
}

// A piece of a batch normalised and activated.
char *pleach_normalise(
    const Tensor *piece, const Tensor *factor, const Tensor *offset, int activation, Tensor **output) {
  *output = nullptr;
  return pleach::guarded([&] {
    const Tensor rows = piece->contiguous(at::MemoryFormat::ChannelsLast);
    *output = new Tensor(normalised(rows, {*factor, *offset, {}, {}}, static_cast<Activation>(activation)));
  });
}

// A depthwise convolution of square kernels without gradients, of an input that is multiplied by
// `factor`, moved by `offset` and activated first if these are not null, and what follows it.
// `output` is null where it is not made for it.
char *pleach_depthwise_forward(
    const Tensor *input, const Tensor *weight, const Tensor *bias, int64_t stride, int64_t padding,
    const Tensor *factor, const Tensor *offset, int before, int after, Tensor **output) {
  *output = nullptr;
  return pleach::guarded([&] {
    if (!detected() || !is_channels_last(*input) || !is_plain(*weight) || weight->size(1) != 1 ||
        weight->size(0) != input->size(1) || weight->size(2) != weight->size(3) || !is_vector(bias) ||
        !is_vector(factor) || !is_vector(offset)) {
      return;
    }
    const pleach::Depthwise shape = shape_of(*input, *weight, stride, padding);
    // Of small images with kernels of 3 libtorch is as fast.
    if (shape.kernel == 3 && shape.out_width < 8) {
      return;
    }
    const auto [least, most] = bounds_of(static_cast<Activation>(before));
    const pleach::Before first{factor ? data(*factor) : nullptr, offset ? data(*offset) : nullptr, least, most};
    const Tensor result = convolved(
        *input, shape, factor && offset ? &first : nullptr, taps_of(*weight), bias ? data(*bias) : nullptr, static_cast<Activation>(after));
    *output = result.defined() ? new Tensor(result) : nullptr;
  });
}

// A depthwise convolution of square kernels, of which only training is our own. `output` is null
// where libtorch has to do it.
char *pleach_depthwise(const Tensor *input, const Tensor *weight, int64_t stride, int64_t padding, Tensor **output) {
  *output = nullptr;
  return pleach::guarded([&] {
    const int64_t kernel = weight->size(3);
    // libtorch is as fast for kernels of 3.
    const bool is_known = kernel == 5 || kernel == 7;
    if (!detected() || !at::GradMode::is_enabled() || !is_channels_last(*input) || !is_plain(*weight) || !is_known ||
        weight->size(1) != 1 || weight->size(0) != input->size(1) || stride > 2) {
      return;
    }
    *output = new Tensor(DepthwiseConvolution::apply(*input, *weight, stride, padding));
  });
}

} // extern "C"
