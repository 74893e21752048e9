// Layers whose kernels are our own, as libtorch's autograd sees them. Each says whether it is made
// for what it is given; the caller has libtorch's own layer for the rest.

#include "errors.h"
#include "tensors.h"

#include <ATen/Parallel.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <torch/csrc/autograd/custom_function.h>

using at::Tensor;
using pleach::Activation;
using pleach::data;
using pleach::detected;
using pleach::Normal;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// Fewer numbers than this are not worth another thread.
constexpr int64_t GRAIN = 16384;

// Sums over rows, which `body(begin, end, first, second)` adds to; by the threads' order, so the
// same number of threads gives the same sums.
template <class Body> std::vector<double> sums_over(int64_t rows, int64_t channels, const Body &body) {
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

Normal normal_of_batch(const Tensor &input, const pleach::Parameters &parameters) {
  const int64_t channels = input.size(1), rows = input.numel() / channels;
  // Differences from some image's values keep digits that the values would lose.
  const float *origin = data(input);
  const std::vector<double> sums =
      sums_over(rows, channels, [&](int64_t begin, int64_t end, double *sum, double *square) {
        detected()->moments(data(input) + begin * channels, origin, end - begin, channels, sum, square);
      });
  return pleach::normal_of_moments(sums.data(), origin, rows, channels, parameters);
}

Tensor normalised(const Tensor &input, const Normal &normal, Activation activation) {
  const int64_t channels = input.size(1), rows = input.numel() / channels;
  const Tensor output = at::empty_like(input, at::MemoryFormat::ChannelsLast);
  float *to = output.data_ptr<float>();
  over_rows(rows, channels, [&](int64_t begin, int64_t end) {
    detected()->affine(
        data(input) + begin * channels, data(normal.factor), data(normal.offset), activation, nullptr, end - begin,
        channels, to + begin * channels);
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
    const pleach::NormGradient own = pleach::gradient_of_moments(sums.data(), rows, {factor, offset, mean, deviation});
    // libtorch wants none for what was not there.
    const Tensor of_scale = context->saved_data["scaled"].toBool() ? own.of_scale : Tensor();
    const Tensor of_shift = context->saved_data["shifted"].toBool() ? own.of_shift : Tensor();
    Tensor of_input;
    if (context->needs_input_grad(0)) {
      of_input = at::empty_like(input, at::MemoryFormat::ChannelsLast);
      float *to = of_input.data_ptr<float>();
      over_rows(rows, channels, [&](int64_t begin, int64_t end) {
        detected()->gradient_affine(
            data(input) + begin * channels, data(gradient) + begin * channels, data(factor), data(offset),
            data(own.slope), data(own.level), activation, end - begin, channels, to + begin * channels);
      });
    }
    return {of_input, of_scale, of_shift, {}, {}, {}, {}, {}};
  }
};

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
      of_weight =
          depthwise_weight(input, gradient, pleach::shape_of(input.sizes().slice(1), weight.size(3), stride, padding));
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
    if (!detected() || !pleach::is_channels_last(*input) || input->numel() == input->size(1) ||
        !pleach::is_vector(scale) || !pleach::is_vector(shift) || !pleach::is_vector(running_mean) ||
        !pleach::is_vector(running_variance)) {
      return;
    }
    if (at::GradMode::is_enabled()) {
      *output = new Tensor(
          BatchNorm::apply(
              *input, pleach::optional(scale), pleach::optional(shift), running_mean, running_variance, momentum,
              epsilon, activation));
    } else {
      const Normal normal = normal_of_batch(*input, {scale, shift, running_mean, running_variance, momentum, epsilon});
      *output = new Tensor(normalised(*input, normal, static_cast<Activation>(activation)));
    }
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
    if (!detected() || !at::GradMode::is_enabled() || !pleach::is_channels_last(*input) || !pleach::is_plain(*weight) ||
        !is_known || weight->size(1) != 1 || weight->size(0) != input->size(1) || stride > 2) {
      return;
    }
    *output = new Tensor(DepthwiseConvolution::apply(*input, *weight, stride, padding));
  });
}

} // extern "C"
