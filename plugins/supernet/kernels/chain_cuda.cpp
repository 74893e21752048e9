// Chains on a CUDA device: matrix products by libtorch, everything else by the kernels in `cuda/`.
//
// Such layers wait for memory, so passes over it count. A batch norm reads its input once for its statistics
// (a depthwise convolution takes them as it writes) and once to normalise and activate it.

#include "chain.h"
#include "cuda.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>

#include <algorithm>

namespace pleach {

namespace {

using at::Tensor;

// Channels that a thread reads at once, and those that a block takes.
constexpr int64_t VECTOR = 8, GROUP = 64;

// Threads of the kernels that go over rows, and rows that they take at a time.
constexpr int64_t THREADS = 256, LANES = THREADS / (GROUP / VECTOR);

// The most channels that there is room for sums of.
constexpr int64_t MOST_CHANNELS = 2048;

// Warps of a block that computes a depthwise convolution.
constexpr int64_t WARPS = 4;

// Columns of an image that a warp takes.
constexpr int64_t COLUMNS = 4;

// The most blocks, over rows or images, that leave sums to the last one of them.
constexpr int64_t MOST_PARTS = 128;

// Libtorch's functions without what they do for gradients.
using Plainly = at::AutoDispatchBelowADInplaceOrView;

// Places of all images, by their channels.
Tensor rows_of(const Tensor &images) {
  const int64_t channels = images.size(1);
  return images.as_strided({images.numel() / channels, channels}, {channels, 1});
}

Tensor images_of(const Tensor &rows, int64_t images, int64_t height, int64_t width) {
  const int64_t channels = rows.size(1);
  return rows.as_strided({images, channels, height, width}, {height * width * channels, 1, width * channels, channels});
}

Tensor images_like(const Tensor &other, int64_t channels, int64_t height, int64_t width) {
  return at::empty({other.size(0), channels, height, width}, other.options(), at::MemoryFormat::ChannelsLast);
}

Tensor floats_beside(const Tensor &other, at::IntArrayRef shape) {
  return at::empty(shape, other.options().dtype(at::kFloat));
}

const char *kind_of(const Tensor &tensor) { return tensor.scalar_type() == at::kBFloat16 ? "Half" : "float"; }

std::string kernel(const char *name, const Tensor &tensor, std::initializer_list<int64_t> numbers = {}) {
  std::string text = std::string(name) + "<" + kind_of(tensor);
  for (const int64_t number : numbers) {
    text += ", " + std::to_string(number);
  }
  return text + ">";
}

const void *pointer(const Tensor &tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; }
const float *pointer(const Tensor *tensor) { return tensor ? data(*tensor) : nullptr; }

int64_t divided_up(int64_t number, int64_t by) { return (number + by - 1) / by; }

// Blocks for kernels that go over rows, each of which has some to do.
cuda::Grid grid_of(const Tensor &values, int64_t most_of_a_processor, int64_t most) {
  const int64_t channels = values.size(1), rows = values.numel() / channels, groups = divided_up(channels, GROUP);
  const int64_t wanted = divided_up(most_of_a_processor * cuda::processors(values.device()), groups);
  const int64_t down = std::clamp<int64_t>(divided_up(rows, 8 * LANES), 1, std::min(wanted, most));
  return {{unsigned(groups), unsigned(down)}, unsigned(THREADS)};
}

// As the kernels have them.
struct Sums {
  float *parts;
  unsigned *ended;
};
struct BatchNorm {
  const float *scale, *shift;
  float *running_mean, *running_variance;
  double momentum, epsilon, rows;
  float *normal;
};
struct Shape {
  int images, channels, height, width, out_height, out_width;
};

// Room for the sums of one kernel at a time, behind a counter for each group of channels.
Sums sums_on(const at::Device &device) {
  float *const all = cuda::room(device, MOST_CHANNELS / GROUP + 2 * MOST_PARTS * MOST_CHANNELS);
  return {all + MOST_CHANNELS / GROUP, reinterpret_cast<unsigned *>(all)};
}

// A batch norm of values like these. What it multiplies by and adds, its mean and one over its deviation come
// to `normal`, of shape (4, channels).
BatchNorm norm_of(const Tensor &values, const Parameters &of, const Tensor &normal) {
  const auto written = [](const Tensor *tensor) { return tensor ? tensor->data_ptr<float>() : nullptr; };
  return {
      pointer(of.scale),
      pointer(of.shift),
      written(of.running_mean),
      written(of.running_variance),
      of.momentum,
      of.epsilon,
      double(values.numel() / values.size(1)),
      normal.data_ptr<float>()};
}

void moments(const Tensor &values, const BatchNorm &norm) {
  const int64_t channels = values.size(1);
  cuda::run(
      values.device(), kernel("moments", values), grid_of(values, 4, MOST_PARTS), pointer(values),
      (long long)(values.numel() / channels), int(channels), sums_on(values.device()), norm);
}

// output = activation(factor * values + offset) + added. Null and undefined for what is not there.
void affine(
    const Tensor &values, const float *factor, const float *offset, Activation activation, const Tensor &added,
    const Tensor &output) {
  const auto [least, most] = bounds_of(activation);
  cuda::run(
      values.device(), kernel("affine", values), grid_of(values, 8, 65535), pointer(values), factor, offset, least,
      most, pointer(added), (long long)(values.numel() / values.size(1)), int(values.size(1)), output.data_ptr());
}

Tensor normalised(const Tensor &values, const Tensor &normal, Activation activation, const Tensor &added) {
  const Tensor output = at::empty_like(values, at::MemoryFormat::ChannelsLast);
  affine(values, data(normal), data(normal) + values.size(1), activation, added, output);
  return output;
}

// The gradient of what a batch norm reads; those of its scale and shift come to `of_own`, of shape (2, channels),
// where it is defined.
Tensor normal_back(
    const Tensor &gradient, const Tensor &values, const Tensor &normal, Activation activation, const Tensor &of_own) {
  const int channels = values.size(1);
  const long long rows = values.numel() / channels;
  const auto [least, most] = bounds_of(activation);
  const Tensor output = at::empty_like(values, at::MemoryFormat::ChannelsLast);
  const at::Device device = values.device();
  const Tensor slopes = floats_beside(values, {2, channels});
  cuda::run(
      device, kernel("gradient_moments", values), grid_of(values, 4, MOST_PARTS), pointer(gradient), pointer(values),
      data(normal), least, most, rows, channels, sums_on(device), slopes.data_ptr<float>(),
      of_own.defined() ? of_own.data_ptr<float>() : nullptr);
  cuda::run(
      device, kernel("gradient_affine", values), grid_of(values, 8, 65535), pointer(gradient), pointer(values),
      data(normal), data(slopes), least, most, rows, channels, output.data_ptr());
  return output;
}

Shape shape_of(const Link &link, int64_t images) {
  const Depthwise &of = link.shape;
  return {int(images), int(of.channels), int(of.height), int(of.width), int(of.out_height), int(of.out_width)};
}

// Pieces of images for warps that take all rows of some columns, or fewer rows where there would be few warps.
struct Strips {
  int64_t rows, count;

  Strips(const Shape &shape, int64_t kernel, int64_t wanted) : rows(shape.height) {
    const int64_t groups = divided_up(shape.channels, GROUP), across = divided_up(shape.width, COLUMNS);
    const auto number = [&] { return shape.images * across * divided_up(shape.height, rows); };
    while (number() * groups < wanted && rows >= 4 * kernel) {
      rows = divided_up(rows, 2);
    }
    count = number();
  }
};

// Blocks for depthwise convolutions with so many pieces of work, one for each warp and group of channels.
cuda::Grid grid_of_strips(int64_t channels, int64_t strips, int64_t most) {
  const unsigned down = std::clamp<int64_t>(divided_up(strips, WARPS), 1, most);
  return {{unsigned(divided_up(channels, GROUP)), down}, unsigned(32 * WARPS)};
}

// What follows a depthwise convolution in the same kernel: a bias, null for none, and an activation; or the
// statistics of a batch norm, whose `normal` is null where none follows.
struct Following {
  const float *bias = nullptr;
  Activation activation = Activation::None;
  BatchNorm norm = {};

  // As the kernels number it.
  int64_t number() const {
    const bool is_activated = bias || activation != Activation::None;
    return norm.normal ? 1 : is_activated ? 2 : 0;
  }

  int64_t most_blocks() const { return norm.normal ? MOST_PARTS : 65535; }
};

// Of stride 1; `is_turned` for the gradient of what it reads, from that of what it gives.
Tensor depthwise_alike(const Link &link, const Tensor &input, bool is_turned, const Following &following) {
  const Shape shape = shape_of(link, input.size(0));
  const int64_t size = link.shape.kernel;
  const Strips strips(shape, size, 16 * cuda::processors(input.device()));
  const Tensor output = images_like(input, shape.channels, shape.height, shape.width);
  const auto [least, most] = bounds_of(following.activation);
  cuda::run(
      input.device(), kernel("depthwise", input, {size, COLUMNS, following.number()}),
      grid_of_strips(shape.channels, strips.count, following.most_blocks()), pointer(input), data(link.weight),
      int(is_turned), following.bias, least, most, shape, int(strips.rows), output.data_ptr(), sums_on(input.device()),
      following.norm);
  return output;
}

Tensor depthwise(const Link &link, const Tensor &input, const Following &following) {
  if (link.shape.stride == 1) {
    return depthwise_alike(link, input, false, following);
  }
  const Shape shape = shape_of(link, input.size(0));
  const int64_t strips = shape.images * divided_up(shape.out_width, COLUMNS) * shape.out_height;
  const Tensor output = images_like(input, shape.channels, shape.out_height, shape.out_width);
  const auto [least, most] = bounds_of(following.activation);
  cuda::run(
      input.device(), kernel("depthwise_halving", input, {link.shape.kernel, COLUMNS}),
      grid_of_strips(shape.channels, strips, following.most_blocks()), pointer(input), data(link.weight),
      following.bias, least, most, shape, output.data_ptr(), sums_on(input.device()), following.norm);
  return output;
}

Tensor depthwise_back(const Link &link, const Tensor &gradient) {
  if (link.shape.stride == 1) {
    return depthwise_alike(link, gradient, true, {});
  }
  const Shape shape = shape_of(link, gradient.size(0));
  const int64_t strips = shape.images * divided_up(shape.width, COLUMNS) * shape.height;
  const Tensor output = images_like(gradient, shape.channels, shape.height, shape.width);
  cuda::run(
      gradient.device(), kernel("depthwise_doubling", gradient, {link.shape.kernel, COLUMNS}),
      grid_of_strips(shape.channels, strips, 65535), pointer(gradient), data(link.weight), shape, output.data_ptr());
  return output;
}

Tensor depthwise_weight(const Link &link, const Tensor &input, const Tensor &gradient) {
  const Shape shape = shape_of(link, input.size(0));
  const int64_t size = link.shape.kernel, taps = size * size, groups = divided_up(shape.channels, GROUP);
  const at::Device device = input.device();
  // Warps that a processor takes at a time, for the registers that each needs.
  const int64_t wanted = (size == 3 ? 16 : 8) * cuda::processors(device);
  // In parts, of shape (parts, taps, channels).
  Tensor sums;
  if (link.shape.stride == 1) {
    const Strips strips(shape, size, wanted);
    const unsigned down = divided_up(std::min(strips.count, divided_up(wanted, groups)), WARPS);
    sums = floats_beside(input, {down * WARPS, taps, shape.channels});
    cuda::run(
        device, kernel("depthwise_weight", input, {size, COLUMNS}), {{unsigned(groups), down}, unsigned(32 * WARPS)},
        pointer(input), pointer(gradient), shape, int(strips.rows), sums.data_ptr<float>());
  } else {
    const int64_t strips = shape.images * divided_up(shape.out_width, COLUMNS);
    const int64_t parts = std::min(strips, divided_up(4 * wanted, groups * size));
    sums = floats_beside(input, {parts, taps, shape.channels});
    cuda::run(
        device, kernel("depthwise_weight_halving", input, {size, COLUMNS}),
        {{unsigned(groups), unsigned(parts)}, unsigned(32 * size)}, pointer(input), pointer(gradient), shape,
        sums.data_ptr<float>());
  }
  const Tensor weight = floats_beside(input, link.weight.sizes());
  cuda::run(
      device, "add_weights", {{unsigned(divided_up(taps * shape.channels, 32)), 1}, unsigned(THREADS)}, data(sums),
      int(sums.size(0)), int(taps), shape.channels, weight.data_ptr<float>());
  return weight;
}

// A weight of points in the numbers that images have.
Tensor narrowed(const Link &link, const Tensor &like) { return link.weight.to(like.scalar_type()); }

Tensor pointwise(const Link &link, const Tensor &weight, const Tensor &input) {
  const Tensor output = at::mm(rows_of(input), weight.t());
  return images_of(output, input.size(0), link.shape.height, link.shape.width);
}

// The gradient of a weight of points, in single precision.
Tensor pointwise_weight(const Link &link, const Tensor &input, const Tensor &gradient) {
  const Tensor by_output = rows_of(gradient).t(), rows = rows_of(input);
  const Tensor weight =
      rows.scalar_type() == at::kFloat ? at::mm(by_output, rows) : at::mm(by_output, rows, at::kFloat);
  return weight.view({link.outputs, link.inputs, 1, 1});
}

// What a forward pass keeps of each link: what it reads, what its batch norm reads and `norm_of` gives, and its
// weight where that is of points. Undefined for what it does not have.
struct Kept {
  Tensor read, value, normal, weight;
};

std::vector<Tensor> together(const std::vector<Kept> &links) {
  std::vector<Tensor> all;
  for (const Kept &link : links) {
    all.insert(all.end(), {link.read, link.value, link.normal, link.weight});
  }
  return all;
}

bool is_made_for(const Tensor &input, const Link &link) {
  const auto fits = [](int64_t channels) { return channels % VECTOR == 0 && channels <= MOST_CHANNELS; };
  const int64_t kernel = link.shape.kernel, stride = link.shape.stride;
  const bool has_kernel = link.is_pointwise ||
      ((kernel == 3 || kernel == 5 || kernel == 7) && (stride == 1 || stride == 2) && link.shape.padding == kernel / 2);
  const bool has_kind = input.scalar_type() == at::kFloat || input.scalar_type() == at::kBFloat16;
  return cuda::is_ready(input.device()) && has_kind && has_kernel && fits(link.inputs) && fits(link.outputs);
}

Computed forward(const Chained &chained, const std::vector<Parameters> &parameters) {
  const Plainly plainly;
  std::vector<Kept> kept;
  Tensor here = chained.input;
  for (size_t index = 0; index < chained.links.size(); index++) {
    const Link &link = chained.links[index];
    const bool has_norm = chained.has_norm(index), is_last = index + 1 == chained.links.size();
    const Tensor weight = link.is_pointwise ? narrowed(link, here) : Tensor();
    // The input is kept by those who call.
    const Tensor read = index ? here : Tensor();
    const Tensor normal = has_norm ? floats_beside(here, {4, link.outputs}) : Tensor();
    if (link.is_pointwise) {
      here = pointwise(link, weight, here);
      if (has_norm) {
        moments(here, norm_of(here, parameters[index], normal));
      }
    } else {
      Following following;
      if (has_norm) {
        following.norm = norm_of(here, parameters[index], normal);
        following.norm.rows = here.size(0) * link.rows_out();
      }
      here = depthwise(link, here, following);
    }
    kept.push_back({read, has_norm ? here : Tensor(), normal, weight});
    if (has_norm) {
      here =
          normalised(here, normal, link.activation, is_last && chained.ending.is_residual ? chained.input : Tensor());
    }
  }
  return {here, together(kept)};
}

Gradients backward(const Chained &chained, at::TensorList tensors, const Tensor &gradient, bool input_needed) {
  const Plainly plainly;
  const size_t links = chained.links.size();
  Gradients gradients;
  gradients.of_weights.resize(links);
  gradients.of_scales.resize(links);
  gradients.of_shifts.resize(links);
  Tensor here = gradient;
  for (size_t index = links; index-- > 0;) {
    const Link &link = chained.links[index];
    const Kept kept{tensors[4 * index], tensors[4 * index + 1], tensors[4 * index + 2], tensors[4 * index + 3]};
    const Tensor &read = index ? kept.read : chained.input;
    if (kept.normal.defined()) {
      const Tensor of_own = chained.has_parameters ? floats_beside(here, {2, link.outputs}) : Tensor();
      here = normal_back(here, kept.value, kept.normal, link.activation, of_own);
      if (of_own.defined()) {
        gradients.of_scales[index] = of_own[0];
        gradients.of_shifts[index] = of_own[1];
      }
    }
    gradients.of_weights[index] =
        link.is_pointwise ? pointwise_weight(link, read, here) : depthwise_weight(link, read, here);
    if (index == 0 && !input_needed) {
      return gradients;
    }
    here = link.is_pointwise
        ? images_of(at::mm(rows_of(here), kept.weight), read.size(0), link.shape.height, link.shape.width)
        : depthwise_back(link, here);
  }
  gradients.of_input = chained.ending.is_residual ? here.add_(gradient) : here;
  return gradients;
}

Tensor folded(const Chained &chained, const std::vector<const Tensor *> &biases) {
  const Plainly plainly;
  Tensor here = chained.input;
  for (size_t index = 0; index < chained.links.size(); index++) {
    const Link &link = chained.links[index];
    const float *bias = pointer(biases[index]);
    const Tensor added = index + 1 == chained.links.size() && chained.ending.is_residual ? chained.input : Tensor();
    if (link.is_pointwise) {
      here = pointwise(link, narrowed(link, here), here);
      affine(here, nullptr, bias, link.activation, added, here);
    } else {
      here = depthwise(link, here, {bias, link.activation, {}});
      if (added.defined()) {
        here.add_(added);
      }
    }
  }
  return here;
}

} // namespace

const Backend cuda_backend = {is_made_for, forward, backward, folded};

} // namespace pleach
