// Chains: convolutions with batch norms and activations between them, as `chain.cpp` gives them to a device.

#pragma once

#include "tensors.h"

#include <vector>

namespace pleach {

// A convolution, of points or depthwise.
struct Link {
  // Of shape (outputs, inputs) for points, (channels, 1, kernel, kernel) for a depthwise one; without gradients.
  at::Tensor weight;
  bool is_pointwise;
  int64_t inputs, outputs;
  Depthwise shape;
  // What follows it, or the batch norm behind it.
  Activation activation;

  int64_t rows_in() const { return shape.height * shape.width; }
  int64_t rows_out() const { return shape.out_height * shape.out_width; }
};

// What comes after the last convolution.
struct Ending {
  // Its batch norm and activation.
  bool is_normalised;
  // The chain's input, which is added.
  bool is_residual;
};

// A chain and its input, channels-last.
struct Chained {
  const at::Tensor &input;
  const std::vector<Link> &links;
  Ending ending;
  // Bytes that a thread's piece of a tensor may take on the CPU.
  int64_t room;
  // Whether any of its batch norms has a scale or a shift.
  bool has_parameters;

  // Whether a batch norm is behind a link.
  bool has_norm(size_t link) const { return link + 1 < links.size() || ending.is_normalised; }
};

// What a chain gives by the batch's statistics, and what its backward pass needs of the way there.
struct Computed {
  at::Tensor output;
  std::vector<at::Tensor> kept;
};

// Gradients of the input, undefined if it needs none, and of what each link has.
struct Gradients {
  at::Tensor of_input;
  std::vector<at::Tensor> of_weights;
  // Of the batch norm behind each link that has one.
  std::vector<at::Tensor> of_scales, of_shifts;
};

// What a device does with a chain.
struct Backend {
  // Whether it is made for a link whose input is like this one.
  bool (*is_made_for)(const at::Tensor &input, const Link &link);

  // By the batch's statistics, with the parameters of the batch norm behind each link that has one.
  Computed (*forward)(const Chained &chained, const std::vector<Parameters> &parameters);

  // `kept` is what the forward pass kept.
  Gradients (*backward)(const Chained &chained, at::TensorList kept, const at::Tensor &gradient, bool input_needed);

  // Without batch norms and gradients: convolutions with biases, null for none, and activations.
  at::Tensor (*folded)(const Chained &chained, const std::vector<const at::Tensor *> &biases);
};

extern const Backend cpu_backend;
extern const Backend cuda_backend;

} // namespace pleach
