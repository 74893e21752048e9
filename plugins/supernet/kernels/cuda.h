// Kernels for CUDA devices that are compiled where they run. No CUDA header is needed: the functions of the
// driver and of NVRTC are found in the library that libtorch uses for its own run-time compilation.

#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <string>

namespace pleach::cuda {

// Whether kernels can be compiled for this device; never for one that `pleach_cuda` was not called for.
bool is_ready(const at::Device &device);

// How many blocks a device computes at a time, at the least.
int64_t processors(const at::Device &device);

struct Grid {
  // Blocks, and threads of a block.
  std::array<unsigned, 2> blocks, threads;
  // Bytes of shared memory that a block is given beside what its kernel declares.
  unsigned shared = 0;
};

// Starts a kernel of `chain.cu`, a template with its arguments (`affine<Half>`), on the stream that libtorch
// uses on the device of this thread. `arguments` point to numbers of the very types that the kernel takes.
void launch(const at::Device &device, const std::string &kernel, const Grid &grid, void **arguments);

// The same with the arguments themselves.
template <class... Arguments>
void run(const at::Device &device, const std::string &kernel, const Grid &grid, Arguments... arguments) {
  void *pointers[] = {static_cast<void *>(&arguments)...};
  launch(device, kernel, grid, pointers);
}

} // namespace pleach::cuda
