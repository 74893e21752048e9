// TorchScript: a module of tensors and the source of its `forward`, written as a file.

#include "errors.h"

#include <torch/csrc/jit/api/module.h>
#include <torch/version.h>

// The version of libtorch whose headers this was compiled with.
extern "C" const char *pleach_torch_version() { return TORCH_VERSION; }

// A buffer is what no training changes.
extern "C" char *pleach_script(
    const char *const *names, const at::Tensor *const *tensors, const bool *are_buffers, size_t count,
    const char *source, const char *path) {
  return pleach::guarded([&] {
    torch::jit::Module module("__torch__.pleach.Network");
    // Python's `train` and `eval` look for it.
    module.register_attribute("training", c10::BoolType::get(), false);
    for (size_t index = 0; index < count; index++) {
      at::Tensor own = tensors[index]->detach().clone();
      own.set_requires_grad(!are_buffers[index]);
      module.register_parameter(names[index], own, are_buffers[index]);
    }
    module.define(source);
    module.save(path);
  });
}
