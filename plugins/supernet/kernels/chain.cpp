// Convolutions with batch norms and activations between them, computed by the kernels of a device: one
// function for libtorch's autograd.

#include "chain.h"
#include "errors.h"

#include <c10/core/DeviceGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

using at::Tensor;
using pleach::Activation;
using pleach::Chained;
using pleach::Link;
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

const pleach::Backend &backend_of(const Tensor &input) {
  return input.is_cuda() ? pleach::cuda_backend : pleach::cpu_backend;
}

bool is_learnt_beside(const Tensor &tensor, const Tensor &input) {
  return tensor.device() == input.device() && tensor.scalar_type() == at::kFloat;
}

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

// What says how a chain is computed, apart from tensors.
struct Plan {
  std::vector<int64_t> strides, paddings, activations;
  // Which batch norms have a scale and a shift.
  std::vector<int64_t> scaled, shifted;
  std::vector<pleach::Parameters> parameters;
  pleach::Ending ending;
  int64_t room;
};

bool has_any(at::IntArrayRef scaled, at::IntArrayRef shifted) {
  const auto any = [](at::IntArrayRef list) { return std::count(list.begin(), list.end(), 1) > 0; };
  return any(scaled) || any(shifted);
}

struct Chain : torch::autograd::Function<Chain> {
  // `learnt`: the weights of all links, then scale and shift of each batch norm that has them.
  static Tensor forward(AutogradContext *context, const Tensor &input, at::TensorList learnt, const Plan &plan) {
    const at::TensorList weights = learnt.slice(0, plan.strides.size());
    const auto links = links_of(input, weights, plan.strides, plan.paddings, plan.activations);
    const Chained chained{input, links, plan.ending, plan.room, has_any(plan.scaled, plan.shifted)};
    const pleach::Computed computed = backend_of(input).forward(chained, plan.parameters);
    variable_list saved = {input};
    saved.insert(saved.end(), weights.begin(), weights.end());
    saved.insert(saved.end(), computed.kept.begin(), computed.kept.end());
    context->save_for_backward(saved);
    context->saved_data["strides"] = plan.strides;
    context->saved_data["paddings"] = plan.paddings;
    context->saved_data["activations"] = plan.activations;
    context->saved_data["scaled"] = plan.scaled;
    context->saved_data["shifted"] = plan.shifted;
    context->saved_data["normalised"] = plan.ending.is_normalised;
    context->saved_data["residual"] = plan.ending.is_residual;
    context->saved_data["room"] = plan.room;
    return computed.output;
  }

  static variable_list backward(AutogradContext *context, const variable_list &given) {
    const auto list = [&](const char *name) { return context->saved_data[name].toIntVector(); };
    const std::vector<int64_t> strides = list("strides"), scaled = list("scaled"), shifted = list("shifted");
    const size_t count = strides.size();
    const variable_list saved = context->get_saved_variables();
    const Tensor &input = saved[0];
    const at::TensorList weights = at::TensorList(saved).slice(1, count);
    const auto links = links_of(input, weights, strides, list("paddings"), list("activations"));
    const Chained chained{
        input,
        links,
        {context->saved_data["normalised"].toBool(), context->saved_data["residual"].toBool()},
        context->saved_data["room"].toInt(),
        has_any(scaled, shifted)};
    const pleach::Gradients gradients = backend_of(input).backward(
        chained, at::TensorList(saved).slice(1 + count), given[0].contiguous(at::MemoryFormat::ChannelsLast),
        context->needs_input_grad(0));
    variable_list all = {gradients.of_input};
    all.insert(all.end(), gradients.of_weights.begin(), gradients.of_weights.end());
    for (size_t index = 0; index < count && chained.has_norm(index); index++) {
      if (scaled[index]) {
        all.push_back(gradients.of_scales[index]);
      }
      if (shifted[index]) {
        all.push_back(gradients.of_shifts[index]);
      }
    }
    // The plan has none.
    all.emplace_back();
    return all;
  }
};

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
    if (input->dim() != 4 || input->numel() == 0 || !input->is_contiguous(at::MemoryFormat::ChannelsLast)) {
      return;
    }
    const c10::DeviceGuard guard(input->device());
    const pleach::Backend &backend = backend_of(*input);
    Plan plan;
    plan.ending = {normalised, residual};
    plan.room = room;
    variable_list learnt;
    std::vector<const Tensor *> biases;
    for (size_t index = 0; index < count; index++) {
      const pleach_link &link = links[index];
      for (const Tensor *vector : {link.bias, link.scale, link.shift, link.running_mean, link.running_variance}) {
        if (vector && !(is_learnt_beside(*vector, *input) && vector->is_contiguous())) {
          return;
        }
      }
      if (!is_learnt_beside(*link.weight, *input) || link.weight->size(2) != link.weight->size(3)) {
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
      const bool fits = link.is_pointwise
          ? link.weight.size(1) == link.inputs && link.shape.stride == 1 && link.shape.padding == 0
          : link.inputs == link.outputs && link.weight.size(1) == 1 && link.shape.padding < link.shape.kernel;
      if (!fits || !backend.is_made_for(*input, link) || (by_batch && input->size(0) * link.rows_out() < 2)) {
        return;
      }
    }
    const Link &last = made.back();
    const bool is_alike = last.outputs == input->size(1) && last.shape.out_height == input->size(2) &&
        last.shape.out_width == input->size(3);
    if (residual && (!is_alike || (by_batch && !normalised))) {
      return;
    }
    const Chained chained{*input, made, plan.ending, room, has_any(plan.scaled, plan.shifted)};
    if (!by_batch) {
      if (at::GradMode::is_enabled()) {
        return;
      }
      *output = new Tensor(backend.folded(chained, biases));
      return;
    }
    if (!at::GradMode::is_enabled()) {
      *output = new Tensor(backend.forward(chained, plan.parameters).output);
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
