// Chains on the CPU: computed a little at a time by each thread, so that what one step hands to the next
// stays in the processor's cache.
//
// By the batch's statistics, as libtorch's autograd sees it, a convolution needs all of the one
// before it: between two of them memory keeps one tensor, what the batch norm reads. What the batch
// norm gives is computed where it is read, and again where the backward pass reads it.

#include "chain.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>

#include <memory>

namespace pleach {

namespace {

using at::Tensor;

// Rows of a convolution of points that are computed in one go: they and their results fit into the
// second cache, and are a multiple of the rows that kernels take.
constexpr int64_t BLOCK = 96;

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
  return link.is_pointwise ? panels_of(link.weight, link.inputs, link.outputs, 1, link.inputs) : taps_of(link.weight);
}

// The same for the gradient of the input.
Tensor packed_back(const Link &link) {
  return link.is_pointwise ? panels_of(link.weight, link.outputs, link.inputs, link.inputs, 1)
                           : taps_of(link.weight.flip({2, 3}));
}

// What a depthwise convolution needs for itself: padded rows.
Room window_of(const Depthwise &shape) {
  const int64_t size = detected()->depthwise_window(shape);
  Room window(size);
  std::fill_n(window.get(), size, 0.0f);
  return window;
}

void depthwise(
    const Depthwise &shape, const float *input, int64_t images, const Before *before, const Tensor &taps,
    const float *bias, Activation activation, const Room &window, float *output) {
  const auto [least, most] = bounds_of(activation);
  for (int64_t image = 0; image < images; image++) {
    detected()->depthwise(
        {shape, input + image * shape.height * shape.width * shape.channels, before, data(taps), taps.size(1), bias,
         least, most, window.get(), output + image * shape.out_height * shape.out_width * shape.channels});
  }
}

void product(
    int64_t inputs, int64_t outputs, const float *input, int64_t rows, const Tensor &panels, const float *bias,
    Activation activation, float *output) {
  const auto [least, most] = bounds_of(activation);
  detected()->product(
      {inputs, outputs, input, data(panels), bias, activation != Activation::None, least, most, output}, rows);
}

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

Results results_of(const Chained &chained, const std::vector<Parameters> &parameters) {
  const Tensor &input = chained.input;
  const std::vector<Link> &links = chained.links;
  const int64_t room = chained.room;
  const int64_t images = input.size(0);
  Results results;
  for (size_t index = 0; index < links.size(); index++) {
    const Link &link = links[index];
    const bool has_norm = chained.has_norm(index);
    const float *from = data(index ? results.values.back() : input);
    const Normal *normal = index ? &results.normals.back() : nullptr;
    const Activation activation = index ? links[index - 1].activation : Activation::None;
    const auto [least, most] = bounds_of(activation);
    const Before before{normal ? data(normal->factor) : nullptr, normal ? data(normal->offset) : nullptr, least, most};
    const Before *first_of_all = normal ? &before : nullptr;
    const Tensor output = room_for(images, link.outputs, link.shape.out_height, link.shape.out_width);
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
          normal_of_moments(all.sums.data(), all.origin.data(), all.rows, link.outputs, parameters[index]));
    }
    results.values.push_back(output);
  }
  return results;
}

// What the chain gives, from what its last link computes.
Tensor output_of(const Chained &chained, const Results &results) {
  const Tensor &input = chained.input;
  const std::vector<Link> &links = chained.links;
  const Ending ending = chained.ending;
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

Tensor images_at(const float *from, int64_t images, int64_t channels, int64_t height, int64_t width) {
  return at::from_blob(const_cast<float *>(from), {images, height, width, channels}, at::kFloat).permute({0, 3, 1, 2});
}

// What libtorch's convolution gives for a depthwise one: the gradient of the input or of the weight.
Tensor of_libtorch(const Link &link, const float *input, const float *gradient, int64_t images, bool of_weight) {
  const Depthwise &shape = link.shape;
  const auto both = at::convolution_backward(
      images_at(gradient, images, shape.channels, shape.out_height, shape.out_width),
      images_at(input, images, shape.channels, shape.height, shape.width), link.weight, std::nullopt,
      {shape.stride, shape.stride}, {shape.padding, shape.padding}, {1, 1}, false, {0, 0}, shape.channels,
      {!of_weight, of_weight, false});
  return of_weight ? std::get<1>(both) : std::get<0>(both);
}

// A depthwise convolution that turns the gradient of another one's output, of stride 1, into that of
// its input.
Depthwise turned(const Depthwise &of) {
  return {of.channels, of.out_height, of.out_width, of.height, of.width, of.kernel, 1, of.kernel - 1 - of.padding};
}

// The gradient of the batch norm behind the last link.
NormGradient last_norm_of(const Link &last, const Tensor &value, const Normal &normal, const Tensor &gradient) {
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
  return gradient_of_moments(all.sums.data(), all.rows, normal);
}

Computed forward(const Chained &chained, const std::vector<Parameters> &parameters) {
  const Results results = results_of(chained, parameters);
  // Of each link that has a batch norm behind it.
  std::vector<Tensor> kept(results.values.begin(), results.values.begin() + results.normals.size());
  for (const Normal &normal : results.normals) {
    kept.insert(kept.end(), {normal.factor, normal.offset, normal.mean, normal.deviation});
  }
  return {output_of(chained, results), kept};
}

Gradients backward(const Chained &chained, at::TensorList kept, const Tensor &gradient, bool input_needed) {
  const Tensor &input = chained.input;
  const std::vector<Link> &links = chained.links;
  const Ending ending = chained.ending;
  const int64_t room = chained.room;
  const int64_t images = input.size(0), threads = at::get_num_threads();
  const size_t norms = links.size() - (ending.is_normalised ? 0 : 1);
  Results results;
  results.values.assign(kept.begin(), kept.begin() + norms);
  for (size_t at = norms; at < kept.size(); at += 4) {
    results.normals.push_back({kept[at], kept[at + 1], kept[at + 2], kept[at + 3]});
  }
  std::vector<NormGradient> of_norms(norms);
  Gradients gradients;
  gradients.of_weights.resize(links.size());
  if (ending.is_normalised) {
    of_norms.back() = last_norm_of(links.back(), results.values.back(), results.normals.back(), gradient);
  }
  // Of what the batch norm behind a link gives, or the link itself where there is none.
  Tensor here = gradient;
  for (size_t index = links.size(); index-- > 0;) {
    const Link &link = links[index];
    const bool has_norm = index < results.normals.size(), is_first = index == 0;
    const bool is_wanted = !is_first || input_needed, is_turned = !link.is_pointwise && link.shape.stride == 1;
    const Tensor next = is_wanted ? room_for(images, link.inputs, link.shape.height, link.shape.width) : Tensor();
    float *to = is_wanted ? next.data_ptr<float>() : nullptr;
    const Normal *after = has_norm ? &results.normals[index] : nullptr;
    const NormGradient *moved = has_norm ? &of_norms[index] : nullptr;
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
      of_norms[index - 1] = gradient_of_moments(all.sums.data(), all.rows, *before);
    }
    here = next;
  }
  gradients.of_input = here;
  for (const NormGradient &of_norm : of_norms) {
    gradients.of_scales.push_back(of_norm.of_scale);
    gradients.of_shifts.push_back(of_norm.of_shift);
  }
  return gradients;
}

// All links on a few images at a time: convolutions with biases, and activations.
Tensor folded(const Chained &chained, const std::vector<const Tensor *> &biases) {
  const Tensor &input = chained.input;
  const std::vector<Link> &links = chained.links;
  const Ending ending = chained.ending;
  const int64_t room = chained.room;
  const Link &last = links.back();
  const Tensor output = room_for(input.size(0), last.outputs, last.shape.out_height, last.shape.out_width);
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
      if (ending.is_residual) {
        const int64_t place = first * images.rows_out * last.outputs;
        add(read + place, count * images.rows_out * last.outputs, to + place);
      }
    };
  });
  return output;
}

bool is_made_for(const Tensor &input, const Link &link) {
  if (!detected() || !is_plain(input)) {
    return false;
  }
  if (link.is_pointwise) {
    return link.weight.size(1) == link.inputs && link.shape.stride == 1 && link.shape.padding == 0;
  }
  return link.inputs == link.outputs && link.weight.size(1) == 1 && detected()->depthwise_window(link.shape) > 0 &&
      link.shape.padding < link.shape.kernel;
}

} // namespace

const Backend cpu_backend = {is_made_for, forward, backward, folded};

} // namespace pleach
