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

// Memory of a device for kernels that follow each other on libtorch's current stream, the same whenever that stream
// is, of `count` floats (always as many) that are zero at first. What a kernel leaves there the next one may overwrite.
float *room(const at::Device &device, int64_t count);

// That `room` is in a tensor of its own for what this thread starts as long as this lives. It is made when it is
// first asked for.
class OwnRoom {
public:
  explicit OwnRoom(at::Tensor &room);
  ~OwnRoom();
  OwnRoom(const OwnRoom &) = delete;
  OwnRoom &operator=(const OwnRoom &) = delete;
};

struct Grid {
  // Blocks, and threads of a block.
  std::array<unsigned, 2> blocks;
  unsigned threads;
};

// Starts a kernel of `cuda/`, with its arguments where it is a template (`affine<Half>`), on the stream that
// libtorch uses. `arguments` point to values of the very types that the kernel takes.
void launch(const at::Device &device, const std::string &kernel, const Grid &grid, void **arguments);

// The same with the arguments themselves.
template <class... Arguments>
void run(const at::Device &device, const std::string &kernel, const Grid &grid, Arguments... arguments) {
  void *pointers[] = {static_cast<void *>(&arguments)...};
  launch(device, kernel, grid, pointers);
}

} // namespace pleach::cuda
