// Convolutions with batch norms and activations between them, computed a little at a time by each
// thread, so that what one step hands to the next stays in the processor's cache.
//
// By the batch's statistics, as libtorch's autograd sees it, a convolution needs all of the one
// before it: between two of them memory keeps one tensor, what the batch norm reads. What the batch
// norm gives is computed where it is read, and again where the backward pass reads it.

#include "errors.h"
#include "tensors.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>

using at::Tensor;
using pleach::Activation;
using pleach::data;
using pleach::detected;
using pleach::Normal;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

extern "C" {

// A convolution, of points or depthwise, and the batch norm and activation behind it. Null for what
// they do not have.
struct pleach_link {
  const Tensor *weight, *bias;
  int64_t stride, padding;
  const Tensor *scale, *shift, *running_mean, *running_variance;
  double momentum;
  int activation;
};
}

namespace {

// Rows of a convolution of points that are computed in one go: they and their results fit into the
// second cache, and are a multiple of the rows that kernels take.
constexpr int64_t BLOCK = 96;

struct Link {
  // Of shape (outputs, inputs) for points, (channels, 1, kernel, kernel) for a depthwise one.
  Tensor weight;
  bool is_pointwise;
  int64_t inputs, outputs;
  pleach::Depthwise shape;
  Activation activation;

  int64_t rows_in() const { return shape.height * shape.width; }
  int64_t rows_out() const { return shape.out_height * shape.out_width; }
};

// The links of a chain whose first one reads `input`.
std::vector<Link> links_of(
    const Tensor &input, at::TensorList weights, at::IntArrayRef strides, at::IntArrayRef paddings,
    at::IntArrayRef activations) {
  std::vector<Link> links;
  int64_t height = input.size(2), width = input.size(3), channels = input.size(1);
  for (size_t index = 0; index < weights.size(); index++) {
    const Tensor weight = weights[index].detach().contiguous();
    const int64_t outputs = weight.size(0);
    const bool is_pointwise = weight.size(3) == 1;
    const pleach::Depthwise shape =
        pleach::shape_of({channels, height, width}, weight.size(3), strides[index], paddings[index]);
    links.push_back(
        {is_pointwise ? weight.view({outputs, weight.size(1)}) : weight, is_pointwise, channels, outputs, shape,
         static_cast<Activation>(activations[index])});
    channels = outputs, height = shape.out_height, width = shape.out_width;
  }
  return links;
}

// Parts of a batch that are computed one by one: rows for points, images for depthwise ones.
struct Units {
  int64_t count, rows_in, rows_out;
  // How many are taken at a time.
  int64_t size;
};

Units rows_of(int64_t channels, int64_t numbers) { return {numbers / channels, 1, 1, BLOCK}; }

Units units_of(const Link &link, int64_t images, int64_t room) {
  if (link.is_pointwise) {
    return {images * link.rows_in(), 1, 1, BLOCK};
  }
  const int64_t bytes = 4 * link.inputs * std::max(link.rows_in(), link.rows_out());
  return {images, link.rows_in(), link.rows_out(), std::max<int64_t>(1, room / bytes)};
}

// Calls `make(thread)(first, count)` for all units, a few at a time.
template <class Make> void in_pieces(const Units &units, const Make &make) {
  at::parallel_for(0, units.count, units.size, [&](int64_t begin, int64_t end) {
    // The caller's is not the other threads'.
    at::NoGradGuard no_grad;
    const auto body = make(at::get_thread_num());
    for (int64_t first = begin; first < end; first += units.size) {
      body(first, std::min(units.size, end - first));
    }
  });
}

// Numbers that are about to be written.
struct Room {
  std::unique_ptr<float[]> floats;
  explicit Room(int64_t count) : floats(new float[count]) {}
  float *get() const { return floats.get(); }
};

// A thread's part of sums over all rows, of shape (2, channels).
struct Part {
  std::vector<double> sums;
  // What differences are taken from; empty where they are none.
  std::vector<float> origin;
  int64_t rows = 0;

  explicit Part(int64_t channels) : sums(2 * channels, 0.0) {}
};

std::vector<Part> parts_of(int64_t channels) { return std::vector<Part>(at::get_num_threads(), Part(channels)); }

// All parts in one, with the origin of the first. By the threads' order: the same number of threads
// gives the same sums.
Part together(const std::vector<Part> &parts) {
  Part all = parts.front();
  const int64_t channels = all.sums.size() / 2;
  for (size_t index = 1; index < parts.size(); index++) {
    const Part &part = parts[index];
    if (part.rows == 0) {
      continue;
    }
    for (int64_t channel = 0; channel < channels; channel++) {
      const double sum = part.sums[channel], square = part.sums[channels + channel];
      const double moved = part.origin.empty() ? 0.0 : double(part.origin[channel]) - double(all.origin[channel]);
      all.sums[channel] += sum + part.rows * moved;
      all.sums[channels + channel] += square + moved * (2 * sum + part.rows * moved);
    }
    all.rows += part.rows;
  }
  return all;
}

// A matrix of shape (inputs, outputs) as products take it, from one that is stored with these
// distances between its inputs and between its outputs.
Tensor panels_of(
    const Tensor &weight, int64_t inputs, int64_t outputs, int64_t between_inputs, int64_t between_outputs) {
  const int64_t panel = detected()->panel, panels = (outputs + panel - 1) / panel;
  const Tensor result = at::zeros({panels, inputs, panel}, at::kFloat);
  float *to = result.data_ptr<float>();
  for (int64_t first = 0; first < outputs; first += panel) {
    const float *from = data(weight) + first * between_outputs;
    const int64_t valid = std::min(panel, outputs - first);
    for (int64_t input = 0; input < inputs; input++, to += panel) {
      for (int64_t output = 0; output < valid; output++) {
        to[output] = from[input * between_inputs + output * between_outputs];
      }
    }
  }
  return result;
}

// A weight as the kernels that convolve take it.
Tensor packed(const Link &link) {
  return link.is_pointwise ? panels_of(link.weight, link.inputs, link.outputs, 1, link.inputs)
                           : pleach::taps_of(link.weight);
}

// The same for the gradient of the input.
Tensor packed_back(const Link &link) {
  return link.is_pointwise ? panels_of(link.weight, link.outputs, link.inputs, link.inputs, 1)
                           : pleach::taps_of(link.weight.flip({2, 3}));
}

// What a depthwise convolution needs for itself: padded rows.
Room window_of(const pleach::Depthwise &shape) {
  const int64_t size = detected()->depthwise_window(shape);
  Room window(size);
  std::fill_n(window.get(), size, 0.0f);
  return window;
}

void depthwise(
    const pleach::Depthwise &shape, const float *input, int64_t images, const pleach::Before *before,
    const Tensor &taps, const float *bias, Activation activation, const Room &window, float *output) {
  const auto [least, most] = pleach::bounds_of(activation);
  for (int64_t image = 0; image < images; image++) {
    detected()->depthwise(
        {shape, input + image * shape.height * shape.width * shape.channels, before, data(taps), taps.size(1), bias,
         least, most, window.get(), output + image * shape.out_height * shape.out_width * shape.channels});
  }
}

void product(
    int64_t inputs, int64_t outputs, const float *input, int64_t rows, const Tensor &panels, const float *bias,
    Activation activation, float *output) {
  const auto [least, most] = pleach::bounds_of(activation);
  detected()->product(
      {inputs, outputs, input, data(panels), bias, activation != Activation::None, least, most, output}, rows);
}

// What comes after the last convolution.
struct Ending {
  // Its batch norm and activation.
  bool is_normalised;
  // The chain's input, which is added.
  bool is_residual;
};

void add(const float *from, int64_t count, float *to) {
  for (int64_t index = 0; index < count; index++) {
    to[index] += from[index];
  }
}

// What the links compute, and the batch norms behind them.
struct Results {
  std::vector<Tensor> values;
  std::vector<Normal> normals;
};

Results forward_of(
    const Tensor &input, const std::vector<Link> &links, const std::vector<pleach::Parameters> &parameters,
    Ending ending, int64_t room) {
  const int64_t images = input.size(0);
  Results results;
  for (size_t index = 0; index < links.size(); index++) {
    const Link &link = links[index];
    const bool has_norm = index + 1 < links.size() || ending.is_normalised;
    const float *from = data(index ? results.values.back() : input);
    const Normal *normal = index ? &results.normals.back() : nullptr;
    const Activation activation = index ? links[index - 1].activation : Activation::None;
    const auto [least, most] = pleach::bounds_of(activation);
    const pleach::Before before{
        normal ? data(normal->factor) : nullptr, normal ? data(normal->offset) : nullptr, least, most};
    const pleach::Before *first_of_all = normal ? &before : nullptr;
    const Tensor output = pleach::room_for(images, link.outputs, link.shape.out_height, link.shape.out_width);
    float *to = output.data_ptr<float>();
    const Tensor weight = packed(link);
    std::vector<Part> parts = parts_of(link.outputs);
    const Units units = units_of(link, images, room);
    in_pieces(units, [&](int64_t thread) {
      Room normalised(normal && link.is_pointwise ? BLOCK * link.inputs : 0);
      Room window = link.is_pointwise ? Room(0) : window_of(link.shape);
      return [&, thread, normalised = std::move(normalised), window = std::move(window)](int64_t first, int64_t count) {
        const float *input = from + first * units.rows_in * link.inputs;
        float *output = to + first * units.rows_out * link.outputs;
        const int64_t rows = count * units.rows_out;
        if (link.is_pointwise) {
          if (normal) {
            detected()->affine(
                input, before.factor, before.offset, activation, nullptr, rows, link.inputs, normalised.get());
            input = normalised.get();
          }
          product(link.inputs, link.outputs, input, rows, weight, nullptr, Activation::None, output);
        } else {
          depthwise(link.shape, input, count, first_of_all, weight, nullptr, Activation::None, window, output);
        }
        if (!has_norm) {
          return;
        }
        Part &part = parts[thread];
        if (part.origin.empty()) {
          part.origin.assign(output, output + link.outputs);
        }
        detected()->moments(
            output, part.origin.data(), rows, link.outputs, part.sums.data(), part.sums.data() + link.outputs);
        part.rows += rows;
      };
    });
    if (has_norm) {
      const Part all = together(parts);
      results.normals.push_back(
          pleach::normal_of_moments(all.sums.data(), all.origin.data(), all.rows, link.outputs, parameters[index]));
    }
    results.values.push_back(output);
  }
  return results;
}

// What the chain gives, from what its last link computes.
Tensor output_of(const Tensor &input, const std::vector<Link> &links, const Results &results, Ending ending) {
  if (!ending.is_normalised) {
    return results.values.back();
  }
  const Link &last = links.back();
  const Tensor &value = results.values.back(), output = at::empty_like(value, at::MemoryFormat::ChannelsLast);
  const Normal &normal = results.normals.back();
  const float *from = data(value), *added = ending.is_residual ? data(input) : nullptr;
  float *to = output.data_ptr<float>();
  in_pieces(rows_of(last.outputs, value.numel()), [&](int64_t) {
    return [&](int64_t first, int64_t count) {
      const int64_t place = first * last.outputs;
      detected()->affine(
          from + place, data(normal.factor), data(normal.offset), last.activation, added ? added + place : nullptr,
          count, last.outputs, to + place);
    };
  });
  return output;
}

// Gradients of the input, undefined if it needs none, and of what each link has.
struct Gradients {
  Tensor of_input;
  std::vector<Tensor> of_weights;
  std::vector<pleach::NormGradient> of_norms;
};

Tensor images_at(const float *from, int64_t images, int64_t channels, int64_t height, int64_t width) {
  return at::from_blob(const_cast<float *>(from), {images, height, width, channels}, at::kFloat).permute({0, 3, 1, 2});
}

// What libtorch's convolution gives for a depthwise one: the gradient of the input or of the weight.
Tensor of_libtorch(const Link &link, const float *input, const float *gradient, int64_t images, bool of_weight) {
  const pleach::Depthwise &shape = link.shape;
  const auto both = at::convolution_backward(
      images_at(gradient, images, shape.channels, shape.out_height, shape.out_width),
      images_at(input, images, shape.channels, shape.height, shape.width), link.weight, std::nullopt,
      {shape.stride, shape.stride}, {shape.padding, shape.padding}, {1, 1}, false, {0, 0}, shape.channels,
      {!of_weight, of_weight, false});
  return of_weight ? std::get<1>(both) : std::get<0>(both);
}

// A depthwise convolution that turns the gradient of another one's output, of stride 1, into that of
// its input.
pleach::Depthwise turned(const pleach::Depthwise &of) {
  return {of.channels, of.out_height, of.out_width, of.height, of.width, of.kernel, 1, of.kernel - 1 - of.padding};
}

// The gradient of the batch norm behind the last link.
pleach::NormGradient last_norm_of(const Link &last, const Tensor &value, const Normal &normal, const Tensor &gradient) {
  std::vector<Part> parts = parts_of(last.outputs);
  const float *from = data(value), *given = data(gradient);
  in_pieces(rows_of(last.outputs, value.numel()), [&](int64_t thread) {
    return [&, thread](int64_t first, int64_t count) {
      Part &part = parts[thread];
      detected()->gradient_moments(
          from + first * last.outputs, given + first * last.outputs, data(normal.factor), data(normal.offset),
          data(normal.mean), last.activation, count, last.outputs, part.sums.data(), part.sums.data() + last.outputs);
      part.rows += count;
    };
  });
  const Part all = together(parts);
  return pleach::gradient_of_moments(all.sums.data(), all.rows, normal);
}

Gradients backward_of(
    const Tensor &input, const std::vector<Link> &links, const Results &results, const Tensor &gradient, Ending ending,
    bool input_needed, int64_t room) {
  const int64_t images = input.size(0), threads = at::get_num_threads();
  Gradients gradients{{}, std::vector<Tensor>(links.size()), std::vector<pleach::NormGradient>(results.normals.size())};
  if (ending.is_normalised) {
    gradients.of_norms.back() = last_norm_of(links.back(), results.values.back(), results.normals.back(), gradient);
  }
  // Of what the batch norm behind a link gives, or the link itself where there is none.
  Tensor here = gradient;
  for (size_t index = links.size(); index-- > 0;) {
    const Link &link = links[index];
    const bool has_norm = index < results.normals.size(), is_first = index == 0;
    const bool is_wanted = !is_first || input_needed, is_turned = !link.is_pointwise && link.shape.stride == 1;
    const Tensor next =
        is_wanted ? pleach::room_for(images, link.inputs, link.shape.height, link.shape.width) : Tensor();
    float *to = is_wanted ? next.data_ptr<float>() : nullptr;
    const Normal *after = has_norm ? &results.normals[index] : nullptr;
    const pleach::NormGradient *moved = has_norm ? &gradients.of_norms[index] : nullptr;
    const Normal *before = is_first ? nullptr : &results.normals[index - 1];
    const Activation activation = is_first ? Activation::None : links[index - 1].activation;
    const float *value = has_norm ? data(results.values[index]) : nullptr;
    const float *added = is_first && ending.is_residual ? data(gradient) : nullptr;
    const float *read = data(is_first ? input : results.values[index - 1]), *given = data(here);
    const Tensor weight = packed_back(link);
    // As it is stored for points, of shape (kernel, kernel, channels) for a depthwise one.
    std::vector<Tensor> weights(threads);
    std::vector<Part> parts = parts_of(link.inputs);
    const Units units = units_of(link, images, room);
    in_pieces(units, [&](int64_t thread) {
      weights[thread] = link.is_pointwise ? at::zeros({link.outputs, link.inputs}, at::kFloat)
                                          : at::zeros({link.shape.kernel, link.shape.kernel, link.inputs}, at::kFloat);
      Room of_output(after ? units.size * units.rows_out * link.outputs : 0);
      Room of_input(before ? units.size * units.rows_in * link.inputs : 0);
      Room window = is_turned ? window_of(turned(link.shape)) : Room(link.is_pointwise ? BLOCK * detected()->panel : 0);
      return [&, thread, of_output = std::move(of_output), of_input = std::move(of_input),
              window = std::move(window)](int64_t first, int64_t count) {
        const int64_t rows_in = count * units.rows_in, rows_out = count * units.rows_out;
        const float *gradient = given + first * units.rows_out * link.outputs;
        if (after) {
          detected()->gradient_affine(
              value + first * units.rows_out * link.outputs, gradient, data(after->factor), data(after->offset),
              data(moved->slope), data(moved->level), link.activation, rows_out, link.outputs, of_output.get());
          gradient = of_output.get();
        }
        const float *raw = read + first * units.rows_in * link.inputs, *input = raw;
        if (before) {
          detected()->affine(
              raw, data(before->factor), data(before->offset), activation, nullptr, rows_in, link.inputs,
              of_input.get());
          input = of_input.get();
        }
        float *output = to + first * units.rows_in * link.inputs;
        float *sum = weights[thread].data_ptr<float>();
        if (link.is_pointwise) {
          detected()->add_outer({link.inputs, link.outputs, gradient, input, window.get(), sum}, rows_in);
          if (is_wanted) {
            product(link.outputs, link.inputs, gradient, rows_in, weight, nullptr, Activation::None, output);
          }
        } else {
          if (!detected()->depthwise_weight(link.shape, input, gradient, count, sum)) {
            const Tensor added = of_libtorch(link, input, gradient, count, true);
            weights[thread].add_(added.squeeze(1).permute({1, 2, 0}));
          }
          if (is_wanted && is_turned) {
            depthwise(turned(link.shape), gradient, count, nullptr, weight, nullptr, Activation::None, window, output);
          } else if (is_wanted) {
            images_at(output, count, link.inputs, link.shape.height, link.shape.width)
                .copy_(of_libtorch(link, input, gradient, count, false));
          }
        }
        if (added && is_wanted) {
          add(added + first * units.rows_in * link.inputs, rows_in * link.inputs, output);
        }
        if (before) {
          Part &part = parts[thread];
          detected()->gradient_moments(
              raw, output, data(before->factor), data(before->offset), data(before->mean), activation, rows_in,
              link.inputs, part.sums.data(), part.sums.data() + link.inputs);
          part.rows += rows_in;
        }
      };
    });
    const Tensor &of_weight = weights[0];
    for (int64_t thread = 1; thread < threads; thread++) {
      if (weights[thread].defined()) {
        of_weight.add_(weights[thread]);
      }
    }
    gradients.of_weights[index] = link.is_pointwise ? of_weight.view({link.outputs, link.inputs, 1, 1})
                                                    : of_weight.permute({2, 0, 1}).contiguous().unsqueeze(1);
    if (before) {
      const Part all = together(parts);
      gradients.of_norms[index - 1] = pleach::gradient_of_moments(all.sums.data(), all.rows, *before);
    }
    here = next;
  }
  gradients.of_input = here;
  return gradients;
}

// What says how a chain is computed, apart from tensors.
struct Plan {
  std::vector<int64_t> strides, paddings, activations;
  // Which batch norms have a scale and a shift.
  std::vector<int64_t> scaled, shifted;
  std::vector<pleach::Parameters> parameters;
  Ending ending;
  int64_t room;
};

struct Chain : torch::autograd::Function<Chain> {
  // `learnt`: the weights of all links, then scale and shift of each batch norm that has them.
  static Tensor forward(AutogradContext *context, const Tensor &input, at::TensorList learnt, const Plan &plan) {
    const at::TensorList weights = learnt.slice(0, plan.strides.size());
    const auto links = links_of(input, weights, plan.strides, plan.paddings, plan.activations);
    const Results results = forward_of(input, links, plan.parameters, plan.ending, plan.room);
    variable_list saved = {input};
    saved.insert(saved.end(), weights.begin(), weights.end());
    // Of each link that has a batch norm behind it.
    saved.insert(saved.end(), results.values.begin(), results.values.begin() + results.normals.size());
    for (const Normal &normal : results.normals) {
      saved.insert(saved.end(), {normal.factor, normal.offset, normal.mean, normal.deviation});
    }
    context->save_for_backward(saved);
    context->saved_data["strides"] = plan.strides;
    context->saved_data["paddings"] = plan.paddings;
    context->saved_data["activations"] = plan.activations;
    context->saved_data["scaled"] = plan.scaled;
    context->saved_data["shifted"] = plan.shifted;
    context->saved_data["normalised"] = plan.ending.is_normalised;
    context->saved_data["residual"] = plan.ending.is_residual;
    context->saved_data["room"] = plan.room;
    return output_of(input, links, results, plan.ending);
  }

  static variable_list backward(AutogradContext *context, const variable_list &given) {
    const auto list = [&](const char *name) { return context->saved_data[name].toIntVector(); };
    const std::vector<int64_t> strides = list("strides"), scaled = list("scaled"), shifted = list("shifted");
    const size_t count = strides.size();
    const variable_list saved = context->get_saved_variables();
    const Tensor &input = saved[0];
    const at::TensorList weights = at::TensorList(saved).slice(1, count);
    const auto links = links_of(input, weights, strides, list("paddings"), list("activations"));
    const Ending ending{context->saved_data["normalised"].toBool(), context->saved_data["residual"].toBool()};
    const size_t norms = count - (ending.is_normalised ? 0 : 1);
    Results results;
    results.values.assign(saved.begin() + 1 + count, saved.begin() + 1 + count + norms);
    for (size_t at = 1 + count + norms; at < saved.size(); at += 4) {
      results.normals.push_back({saved[at], saved[at + 1], saved[at + 2], saved[at + 3]});
    }
    const Tensor gradient = given[0].contiguous(at::MemoryFormat::ChannelsLast);
    const Gradients gradients = backward_of(
        input, links, results, gradient, ending, context->needs_input_grad(0), context->saved_data["room"].toInt());
    variable_list all = {gradients.of_input};
    all.insert(all.end(), gradients.of_weights.begin(), gradients.of_weights.end());
    for (size_t index = 0; index < norms; index++) {
      if (scaled[index]) {
        all.push_back(gradients.of_norms[index].of_scale);
      }
      if (shifted[index]) {
        all.push_back(gradients.of_norms[index].of_shift);
      }
    }
    // The plan has none.
    all.emplace_back();
    return all;
  }
};

// All links on a few images at a time: convolutions with biases, and activations.
Tensor folded_of(
    const Tensor &input, const std::vector<Link> &links, const std::vector<const Tensor *> &biases, bool is_residual,
    int64_t room) {
  const Link &last = links.back();
  const Tensor output = pleach::room_for(input.size(0), last.outputs, last.shape.out_height, last.shape.out_width);
  const float *read = data(input);
  float *to = output.data_ptr<float>();
  std::vector<Tensor> weights;
  int64_t widest = 1;
  for (const Link &link : links) {
    weights.push_back(packed(link));
    widest = std::max(widest, link.outputs * link.rows_out());
  }
  const int64_t size = std::max<int64_t>(1, room / (4 * widest));
  const Units images{input.size(0), links[0].rows_in(), last.rows_out(), size};
  in_pieces(images, [&](int64_t) {
    Room one(size * widest), other(size * widest);
    std::vector<Room> windows;
    for (const Link &link : links) {
      windows.push_back(link.is_pointwise ? Room(0) : window_of(link.shape));
    }
    return [&, one = std::move(one), other = std::move(other),
            windows = std::move(windows)](int64_t first, int64_t count) {
      const float *from = read + first * images.rows_in * links[0].inputs;
      for (size_t index = 0; index < links.size(); index++) {
        const Link &link = links[index];
        float *next =
            index + 1 == links.size() ? to + first * images.rows_out * link.outputs : (index % 2 ? other : one).get();
        const float *bias = biases[index] ? data(*biases[index]) : nullptr;
        if (link.is_pointwise) {
          product(link.inputs, link.outputs, from, count * link.rows_in(), weights[index], bias, link.activation, next);
        } else {
          depthwise(link.shape, from, count, nullptr, weights[index], bias, link.activation, windows[index], next);
        }
        from = next;
      }
      if (is_residual) {
        const int64_t place = first * images.rows_out * last.outputs;
        add(read + place, count * images.rows_out * last.outputs, to + place);
      }
    };
  });
  return output;
}

bool is_made_for(const Link &link) {
  if (link.is_pointwise) {
    return link.weight.size(1) == link.inputs && link.shape.stride == 1 && link.shape.padding == 0;
  }
  return link.inputs == link.outputs && link.weight.size(1) == 1 && detected()->depthwise_window(link.shape) > 0 &&
      link.shape.padding < link.shape.kernel;
}

} // namespace

extern "C" {

// A chain of links, to which its input is added if `residual`; `room` is how many bytes a thread's piece
// of a tensor may take. If `by_batch`, without biases, and what is behind the last link is computed if
// `normalised`; else without gradients, and no batch norm is. `output` is null where other layers have
// to do it.
char *pleach_chain(
    const Tensor *input, const pleach_link *links, size_t count, bool by_batch, bool normalised, bool residual,
    double epsilon, int64_t room, Tensor **output) {
  *output = nullptr;
  return pleach::guarded([&] {
    if (!detected() || !pleach::is_channels_last(*input)) {
      return;
    }
    Plan plan;
    plan.ending = {normalised, residual};
    plan.room = room;
    variable_list learnt;
    std::vector<const Tensor *> biases;
    for (size_t index = 0; index < count; index++) {
      const pleach_link &link = links[index];
      for (const Tensor *vector : {link.bias, link.scale, link.shift, link.running_mean, link.running_variance}) {
        if (!pleach::is_vector(vector)) {
          return;
        }
      }
      if (!pleach::is_plain(*link.weight) || link.weight->size(2) != link.weight->size(3)) {
        return;
      }
      learnt.push_back(*link.weight);
      biases.push_back(link.bias);
      plan.strides.push_back(link.stride);
      plan.paddings.push_back(link.padding);
      plan.activations.push_back(link.activation);
      plan.scaled.push_back(link.scale != nullptr);
      plan.shifted.push_back(link.shift != nullptr);
      plan.parameters.push_back(
          {link.scale, link.shift, link.running_mean, link.running_variance, link.momentum, epsilon});
    }
    const auto made = links_of(*input, learnt, plan.strides, plan.paddings, plan.activations);
    for (const Link &link : made) {
      // A batch norm of one number is libtorch's to refuse.
      if (!is_made_for(link) || (by_batch && input->size(0) * link.rows_out() < 2)) {
        return;
      }
    }
    const Link &last = made.back();
    const bool is_alike = last.outputs == input->size(1) && last.shape.out_height == input->size(2) &&
        last.shape.out_width == input->size(3);
    if (residual && (!is_alike || (by_batch && !normalised))) {
      return;
    }
    if (!by_batch) {
      if (at::GradMode::is_enabled()) {
        return;
      }
      *output = new Tensor(folded_of(*input, made, biases, residual, room));
      return;
    }
    if (!at::GradMode::is_enabled()) {
      const Results results = forward_of(*input, made, plan.parameters, plan.ending, room);
      *output = new Tensor(output_of(*input, made, results, plan.ending));
      return;
    }
    for (size_t index = 0; index < count - (normalised ? 0 : 1); index++) {
      for (const Tensor *own : {links[index].scale, links[index].shift}) {
        if (own) {
          learnt.push_back(*own);
        }
      }
    }
    const at::TensorList all(learnt);
    *output = new Tensor(Chain::apply(*input, all, plan));
  });
}

} // extern "C"
