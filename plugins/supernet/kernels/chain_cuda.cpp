// Chains on a CUDA device: matrix products by libtorch, everything else by the kernels of `chain.cu`.
//
// Such layers wait for memory, so passes over it count. A batch norm reads its input once for its statistics
// (a depthwise convolution takes them as it writes) and once to normalise and activate it.

#include "chain.h"
#include "cuda.h"

#include <algorithm>

namespace pleach {

namespace {

using at::Tensor;

// Channels that a thread reads at once, and threads of the kernels that go over rows.
constexpr int64_t VECTOR = 8, THREADS = 256;

// Warps of a block that computes a depthwise convolution.
constexpr int64_t WARPS = 4;

// Places of all images, by their channels.
Tensor rows_of(const Tensor &images) { return images.permute({0, 2, 3, 1}).reshape({-1, images.size(1)}); }

Tensor images_of(const Tensor &rows, int64_t images, int64_t height, int64_t width) {
  return rows.view({images, height, width, rows.size(1)}).permute({0, 3, 1, 2});
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
cuda::Grid grid_of(const Tensor &values, int64_t most_of_a_processor) {
  const int64_t channels = values.size(1), rows = values.numel() / channels, lanes = THREADS / (channels / VECTOR);
  const int64_t most = most_of_a_processor * cuda::processors(values.device());
  const unsigned blocks = std::clamp<int64_t>(divided_up(rows, 8 * lanes), 1, most);
  return {{blocks, 1}, {unsigned(THREADS), 1}, unsigned(sizeof(float) * lanes * channels)};
}

// Blocks for kernels that add up parts, a thread for each channel and eighth of the parts.
cuda::Grid grid_of_channels(int64_t channels) { return {{unsigned(divided_up(channels, 32)), 1}, {32, 8}}; }

// Sums in parts, of shape (parts, 2, channels), for `normal_of`.
struct Parts {
  Tensor sums;
  // What values were taken from; undefined for zero.
  Tensor origins;
};

Parts moments_of(const Tensor &values) {
  const int64_t channels = values.size(1);
  const cuda::Grid grid = grid_of(values, 2);
  const Tensor sums = floats_beside(values, {grid.blocks[0], 2, channels});
  cuda::run(
      values.device(), kernel("moments", values), grid, pointer(values), (long long)(values.numel() / channels),
      int(channels), sums.data_ptr<float>());
  return {sums, values};
}

// Factor, offset, mean and one over the deviation, of shape (4, channels).
Tensor normal_of(const Tensor &values, const Parts &parts, const Parameters &of) {
  const int64_t channels = values.size(1);
  const Tensor normal = floats_beside(values, {4, channels});
  cuda::run(
      values.device(), kernel("normal_of_moments", values), grid_of_channels(channels), data(parts.sums),
      int(parts.sums.size(0)), pointer(parts.origins), double(values.numel() / channels), int(channels),
      pointer(of.scale), pointer(of.shift), of.running_mean ? of.running_mean->data_ptr<float>() : nullptr,
      of.running_variance ? of.running_variance->data_ptr<float>() : nullptr, of.momentum, of.epsilon,
      normal.data_ptr<float>());
  return normal;
}

// output = activation(factor * values + offset) + added. Null and undefined for what is not there.
void affine(
    const Tensor &values, const float *factor, const float *offset, Activation activation, const Tensor &added,
    const Tensor &output) {
  const auto [least, most] = bounds_of(activation);
  cuda::run(
      values.device(), kernel("affine", values), grid_of(values, 8), pointer(values), factor, offset, least, most,
      pointer(added), (long long)(values.numel() / values.size(1)), int(values.size(1)), output.data_ptr());
}

Tensor normalised(const Tensor &values, const Tensor &normal, Activation activation, const Tensor &added) {
  const Tensor output = at::empty_like(values, at::MemoryFormat::ChannelsLast);
  affine(values, data(normal), data(normal) + values.size(1), activation, added, output);
  return output;
}

// The gradient of what a batch norm reads, and of its scale and shift, of shape (2, channels).
std::pair<Tensor, Tensor> normal_back(
    const Tensor &gradient, const Tensor &values, const Tensor &normal, Activation activation) {
  const int64_t channels = values.size(1);
  const long long rows = values.numel() / channels;
  const auto [least, most] = bounds_of(activation);
  const cuda::Grid grid = grid_of(values, 2);
  const Tensor parts = floats_beside(values, {grid.blocks[0], 2, channels});
  const Tensor slopes = floats_beside(values, {2, channels}), of_own = floats_beside(values, {2, channels});
  const Tensor output = at::empty_like(values, at::MemoryFormat::ChannelsLast);
  const at::Device device = values.device();
  cuda::run(
      device, kernel("gradient_moments", values), grid, pointer(gradient), pointer(values), data(normal), least, most,
      rows, int(channels), parts.data_ptr<float>());
  cuda::run(
      device, "gradient_of_moments", grid_of_channels(channels), data(parts), int(parts.size(0)), data(normal),
      double(rows), int(channels), slopes.data_ptr<float>(), of_own.data_ptr<float>());
  cuda::run(
      device, kernel("gradient_affine", values), grid_of(values, 8), pointer(gradient), pointer(values), data(normal),
      data(slopes), least, most, rows, int(channels), output.data_ptr());
  return {output, of_own};
}

// As `chain.cu` has it.
struct Shape {
  int images, channels, height, width, out_height, out_width;
};

Shape shape_of(const Link &link, int64_t images) {
  const Depthwise &of = link.shape;
  return {int(images),   int(of.channels),   int(of.height),
          int(of.width), int(of.out_height), int(of.out_width)};
}

// Blocks for depthwise convolutions with so many pieces of work, one for each warp and 64 channels.
cuda::Grid grid_of_strips(int64_t channels, int64_t strips, int64_t most) {
  const unsigned down = std::clamp<int64_t>(divided_up(strips, WARPS), 1, most);
  return {{unsigned(divided_up(channels, 64)), down}, {unsigned(32 * WARPS), 1}};
}

int64_t columns_of(int64_t width) { return width > 4 ? 8 : 4; }

// What follows a depthwise convolution in the same kernel: a bias, null for none, and an activation; or parts
// of the moments of what it gives.
struct Following {
  const float *bias = nullptr;
  Activation activation = Activation::None;
  Parts *parts = nullptr;
};

// Of stride 1; `is_turned` for the gradient of what it reads, from that of what it gives.
Tensor depthwise_alike(const Link &link, const Tensor &input, bool is_turned, const Following &following) {
  const Shape shape = shape_of(link, input.size(0));
  const int64_t columns = columns_of(shape.width), across = divided_up(shape.width, columns);
  const int64_t wanted = 16 * cuda::processors(input.device()), kernel_size = link.shape.kernel;
  // Images are cut where there are few of them.
  int64_t rows = shape.height;
  const auto strips = [&] { return shape.images * across * divided_up(shape.height, rows); };
  while (strips() * divided_up(shape.channels, 64) < wanted && rows >= 4 * kernel_size) {
    rows = divided_up(rows, 2);
  }
  const cuda::Grid grid = grid_of_strips(shape.channels, strips(), following.parts ? 1024 : 65535);
  const Tensor output = images_like(input, shape.channels, shape.height, shape.width);
  float *sums = nullptr;
  if (following.parts) {
    following.parts->sums = floats_beside(input, {grid.blocks[1], 2, shape.channels});
    sums = following.parts->sums.data_ptr<float>();
  }
  const auto [least, most] = bounds_of(following.activation);
  cuda::run(
      input.device(), kernel("depthwise", input, {kernel_size, columns}), grid, pointer(input), data(link.weight),
      int(is_turned), following.bias, least, most, shape, int(rows), output.data_ptr(), sums);
  return output;
}

Tensor depthwise(const Link &link, const Tensor &input, const Following &following) {
  if (link.shape.stride == 1) {
    return depthwise_alike(link, input, false, following);
  }
  const Shape shape = shape_of(link, input.size(0));
  const int64_t columns = 4, strips = shape.images * divided_up(shape.out_width, columns) * shape.out_height;
  const cuda::Grid grid = grid_of_strips(shape.channels, strips, following.parts ? 1024 : 65535);
  const Tensor output = images_like(input, shape.channels, shape.out_height, shape.out_width);
  float *sums = nullptr;
  if (following.parts) {
    following.parts->sums = floats_beside(input, {grid.blocks[1], 2, shape.channels});
    sums = following.parts->sums.data_ptr<float>();
  }
  const auto [least, most] = bounds_of(following.activation);
  cuda::run(
      input.device(), kernel("depthwise_halving", input, {link.shape.kernel, columns}), grid, pointer(input),
      data(link.weight), following.bias, least, most, shape, output.data_ptr(), sums);
  return output;
}

Tensor depthwise_back(const Link &link, const Tensor &gradient) {
  if (link.shape.stride == 1) {
    return depthwise_alike(link, gradient, true, {});
  }
  const Shape shape = shape_of(link, gradient.size(0));
  const int64_t columns = 4, strips = shape.images * divided_up(shape.width, columns) * shape.height;
  const Tensor output = images_like(gradient, shape.channels, shape.height, shape.width);
  cuda::run(
      gradient.device(), kernel("depthwise_doubling", gradient, {link.shape.kernel, columns}),
      grid_of_strips(shape.channels, strips, 65535), pointer(gradient), data(link.weight), shape, output.data_ptr());
  return output;
}

Tensor depthwise_weight(const Link &link, const Tensor &input, const Tensor &gradient) {
  const Shape shape = shape_of(link, input.size(0));
  const int64_t size = link.shape.kernel, taps = size * size, groups = divided_up(shape.channels, 64);
  const int64_t columns = columns_of(shape.out_width), strips = shape.images * divided_up(shape.out_width, columns);
  const int64_t wanted = 24 * cuda::processors(input.device()) / (groups * size);
  const int64_t parts = std::min(strips, std::max<int64_t>(wanted, 16));
  const Tensor sums = floats_beside(input, {parts, taps, shape.channels});
  const Tensor weight = floats_beside(input, link.weight.sizes());
  cuda::run(
      input.device(), kernel("depthwise_weight", input, {size, link.shape.stride, columns}),
      {{unsigned(groups), unsigned(parts)}, {unsigned(32 * size), 1}}, pointer(input), pointer(gradient), shape,
      sums.data_ptr<float>());
  cuda::run(
      input.device(), "add_weights", {{unsigned(divided_up(taps * shape.channels, THREADS)), 1}, {THREADS, 1}},
      data(sums), int(parts), int(taps), shape.channels, weight.data_ptr<float>());
  return weight;
}

Tensor narrowed(const Link &link, const Tensor &like) { return link.weight.to(like.scalar_type()); }

Tensor pointwise(const Link &link, const Tensor &input) {
  const Tensor output = at::mm(rows_of(input), narrowed(link, input).t());
  return images_of(output, input.size(0), link.shape.height, link.shape.width);
}

// What a forward pass keeps: what each link but the first reads, then of each link with a batch norm what that
// reads and its `normal_of`.
struct Kept {
  at::TensorList read, values, normals;

  Kept(const Chained &chained, at::TensorList kept) {
    const size_t links = chained.links.size(), norms = links - (chained.ending.is_normalised ? 0 : 1);
    read = kept.slice(0, links - 1);
    values = kept.slice(links - 1, norms);
    normals = kept.slice(links - 1 + norms, norms);
  }
};

bool is_made_for(const Tensor &input, const Link &link) {
  const auto fits = [](int64_t channels) { return channels % VECTOR == 0 && channels <= VECTOR * THREADS; };
  const int64_t kernel = link.shape.kernel, stride = link.shape.stride;
  const bool has_kernel = link.is_pointwise ||
      ((kernel == 3 || kernel == 5 || kernel == 7) && (stride == 1 || stride == 2) && link.shape.padding == kernel / 2);
  const bool has_kind = input.scalar_type() == at::kFloat || input.scalar_type() == at::kBFloat16;
  return cuda::is_ready(input.device()) && has_kind && has_kernel && fits(link.inputs) && fits(link.outputs);
}

Computed forward(const Chained &chained, const std::vector<Parameters> &parameters) {
  std::vector<Tensor> read, values, normals;
  Tensor here = chained.input;
  for (size_t index = 0; index < chained.links.size(); index++) {
    const Link &link = chained.links[index];
    const bool has_norm = chained.has_norm(index), is_last = index + 1 == chained.links.size();
    if (index) {
      read.push_back(here);
    }
    Parts parts;
    Following following;
    following.parts = has_norm ? &parts : nullptr;
    const Tensor value = link.is_pointwise ? pointwise(link, here) : depthwise(link, here, following);
    if (!has_norm) {
      here = value;
      continue;
    }
    if (link.is_pointwise) {
      parts = moments_of(value);
    }
    const Tensor normal = normal_of(value, parts, parameters[index]);
    const bool is_added = is_last && chained.ending.is_residual;
    here = normalised(value, normal, link.activation, is_added ? chained.input : Tensor());
    values.push_back(value);
    normals.push_back(normal);
  }
  std::vector<Tensor> kept = std::move(read);
  kept.insert(kept.end(), values.begin(), values.end());
  kept.insert(kept.end(), normals.begin(), normals.end());
  return {here, kept};
}

Gradients backward(const Chained &chained, at::TensorList tensors, const Tensor &gradient, bool input_needed) {
  const Kept kept(chained, tensors);
  const size_t links = chained.links.size();
  Gradients gradients{
      {}, std::vector<Tensor>(links), std::vector<Tensor>(kept.normals.size()),
      std::vector<Tensor>(kept.normals.size())};
  Tensor here = gradient;
  for (size_t index = links; index-- > 0;) {
    const Link &link = chained.links[index];
    const Tensor &read = index ? kept.read[index - 1] : chained.input;
    if (chained.has_norm(index)) {
      const auto [before, own] = normal_back(here, kept.values[index], kept.normals[index], link.activation);
      here = before;
      gradients.of_scales[index] = own[0];
      gradients.of_shifts[index] = own[1];
    }
    const bool is_wanted = index || input_needed;
    if (link.is_pointwise) {
      const Tensor rows = rows_of(here);
      gradients.of_weights[index] =
          at::mm(rows.t(), rows_of(read)).to(at::kFloat).view({link.outputs, link.inputs, 1, 1});
      if (is_wanted) {
        here = images_of(
            at::mm(rows, narrowed(link, here)), read.size(0), link.shape.height, link.shape.width);
      }
    } else {
      gradients.of_weights[index] = depthwise_weight(link, read, here);
      if (is_wanted) {
        here = depthwise_back(link, here);
      }
    }
  }
  if (input_needed) {
    gradients.of_input = chained.ending.is_residual ? here.add_(gradient) : here;
  }
  return gradients;
}

Tensor folded(const Chained &chained, const std::vector<const Tensor *> &biases) {
  Tensor here = chained.input;
  for (size_t index = 0; index < chained.links.size(); index++) {
    const Link &link = chained.links[index];
    const float *bias = pointer(biases[index]);
    const Tensor added = index + 1 == chained.links.size() && chained.ending.is_residual ? chained.input : Tensor();
    if (link.is_pointwise) {
      here = pointwise(link, here);
      affine(here, nullptr, bias, link.activation, added, here);
    } else {
      here = depthwise(link, here, {bias, link.activation});
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
