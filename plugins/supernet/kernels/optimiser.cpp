// The optimiser's step over a list of parameters, with few calls of libtorch however many there
// are, and settings that `tch` has no function for. No CUDA header is needed: libtorch finds the
// functions of a device by itself.

#include "errors.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <vector>

namespace {

// Whether both lie in memory in the same order. Strides of dimensions of one element say nothing.
bool same_order(const at::Tensor &one, const at::Tensor &other) {
  for (int64_t dimension = 0; dimension < one.dim(); dimension++) {
    if (one.size(dimension) != 1 && one.stride(dimension) != other.stride(dimension)) {
      return false;
    }
  }
  return true;
}

// A gradient with its parameter's strides; of zeros if there is none.
at::Tensor aligned(const at::Tensor &gradient, const at::Tensor &value) {
  if (!gradient.defined()) {
    return at::zeros_like(value);
  }
  if (gradient.strides() == value.strides()) {
    return gradient;
  }
  if (same_order(gradient, value)) {
    return gradient.as_strided(value.sizes(), value.strides());
  }
  return at::empty_like(value).copy_(gradient);
}

} // namespace

extern "C" {

// momentum = momentum * factor + scale * gradient + weight_decay * value, then
// value -= learning_rate * momentum, where the scale brings the norm of all gradients down to
// `clip`. Gradients are overwritten. Nothing is read back from the device.
char *pleach_sgd(
    at::Tensor *const *parameters,
    at::Tensor *const *gradients_of,
    at::Tensor *const *momenta,
    size_t count,
    double learning_rate,
    double factor,
    double weight_decay,
    double clip) {
  return pleach::guarded([&] {
    if (count == 0) {
      return;
    }
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> values, gradients, buffers;
    for (size_t index = 0; index < count; index++) {
      values.push_back(*parameters[index]);
      gradients.push_back(aligned(*gradients_of[index], *parameters[index]));
      buffers.push_back(*momenta[index]);
    }
    std::optional<at::Tensor> divisor;
    if (clip > 0.0) {
      at::Tensor norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients)));
      divisor = norm.add_(1e-6).div_(clip).clamp_min_(1.0);
    }
    if (factor > 0.0) {
      at::_fused_sgd_(
          values, gradients, buffers, weight_decay, factor, learning_rate, /*dampening=*/0.0, /*nesterov=*/false,
          /*maximize=*/false, /*is_first_step=*/false, divisor, std::nullopt);
    } else {
      // The fused step keeps no momentum whose factor is zero.
      at::_foreach_mul_(buffers, factor);
      if (divisor) {
        at::_foreach_mul_(gradients, divisor->reciprocal());
      }
      at::_foreach_add_(buffers, gradients);
      at::_foreach_add_(buffers, values, weight_decay);
      at::_foreach_add_(values, buffers, -learning_rate);
    }
  });
}

// Whether CUDA may round the factors of 32-bit matrix products and convolutions to 10 bits.
char *pleach_allow_tf32(bool allow) {
  return pleach::guarded([&] {
    at::globalContext().setAllowTF32CuBLAS(allow);
    at::globalContext().setAllowTF32CuDNN(allow);
  });
}

// The most bytes that tensors on a CUDA device took so far.
char *pleach_peak_memory(int8_t device, uint64_t *bytes) {
  return pleach::guarded([&] {
    const auto statistics = c10::getDeviceAllocator(c10::DeviceType::CUDA)->getDeviceStats(device);
    *bytes = statistics.allocated_bytes[0].peak;
  });
}

} // extern "C"
