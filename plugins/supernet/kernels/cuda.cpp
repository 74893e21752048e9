#include "cuda.h"

#include "errors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <dlfcn.h>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <unordered_map>
#include <vector>

namespace pleach::cuda {

namespace {

// Of the CUDA driver's and NVRTC's interfaces (docs.nvidia.com/cuda), what is used here; results other than
// 0 are errors.
using Module = void *;
using Function = void *;
using Program = void *;

constexpr int PROCESSORS = 16, MAJOR = 75, MINOR = 76;

struct Interface {
  int (*get_device)(int *device, int ordinal);
  int (*get_attribute)(int *value, int attribute, int device);
  int (*get_context)(void **context);
  int (*set_context)(void *context);
  int (*retain_context)(void **context, int device);
  int (*get_error_name)(int error, const char **name);
  int (*load_module)(Module *module, const void *image);
  int (*get_function)(Function *function, Module module, const char *name);
  int (*launch)(
      Function function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared, void *stream,
      void **arguments, void **extra);
  int (*create)(Program *, const char *source, const char *name, int, const char *const *, const char *const *);
  int (*destroy)(Program *);
  int (*add_name)(Program, const char *expression);
  int (*compile)(Program, int count, const char *const *options);
  int (*log_size)(Program, size_t *size);
  int (*log)(Program, char *log);
  int (*lowered_name)(Program, const char *expression, const char **name);
  int (*binary_size)(Program, size_t *size);
  int (*binary)(Program, char *binary);

  // Opens the library beside libtorch's own.
  explicit Interface(const std::string &path) {
    void *const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      const char *const reason = dlerror();
      throw std::runtime_error(reason ? reason : "cannot open " + path);
    }
    const auto find = [&](auto &function, const char *name) {
      void *const found = dlsym(library, name);
      if (!found) {
        throw std::runtime_error(path + " has no " + name);
      }
      function = reinterpret_cast<std::decay_t<decltype(function)>>(found);
    };
    find(get_device, "cuDeviceGet");
    find(get_attribute, "cuDeviceGetAttribute");
    find(get_context, "cuCtxGetCurrent");
    find(set_context, "cuCtxSetCurrent");
    find(retain_context, "cuDevicePrimaryCtxRetain");
    find(get_error_name, "cuGetErrorName");
    find(load_module, "cuModuleLoadData");
    find(get_function, "cuModuleGetFunction");
    find(launch, "cuLaunchKernel");
    find(create, "nvrtcCreateProgram");
    find(destroy, "nvrtcDestroyProgram");
    find(add_name, "nvrtcAddNameExpression");
    find(compile, "nvrtcCompileProgram");
    find(log_size, "nvrtcGetProgramLogSize");
    find(log, "nvrtcGetProgramLog");
    find(lowered_name, "nvrtcGetLoweredName");
    find(binary_size, "nvrtcGetCUBINSize");
    find(binary, "nvrtcGetCUBIN");
  }
};

// Opened once, and kept.
const Interface *interface = nullptr;

struct Ready {
  // The driver's name for the device.
  int handle;
  // What the kernels are compiled for, and from.
  std::string option;
  const char *source;
  int64_t processors;
  std::map<std::string, Function> functions;
  // One for each stream, for kernels on several run at the same time. Never freed: CUDA is gone before this
  // library is.
  std::map<c10::StreamId, at::Tensor *> rooms;
};

// Devices that kernels can be compiled for. The lock is held while one is.
std::mutex lock;
std::map<int, Ready> devices;

// The room that this thread's kernels have instead of their stream's.
thread_local at::Tensor *own_room = nullptr;

int number_of(const at::Device &device) { return device.has_index() ? device.index() : 0; }

void check(int error, const char *doing, const std::string &what = "") {
  if (error) {
    const char *name = nullptr;
    interface->get_error_name(error, &name);
    throw std::runtime_error(std::string(doing) + what + ": " + (name ? name : std::to_string(error)));
  }
}

// Threads of libtorch's that have not asked CUDA for anything yet have no context: gives them the one that its
// runtime uses.
void enter(int handle) {
  void *context = nullptr;
  check(interface->get_context(&context), "asking for a context");
  if (!context) {
    check(interface->retain_context(&context, handle), "entering a context");
    check(interface->set_context(context), "entering a context");
  }
}

// What a device's kernels are compiled with; null if it cannot be done. Threads ask for the lock once.
Ready *ready(const at::Device &device) {
  static thread_local std::unordered_map<int, Ready *> known;
  Ready *&here = known[number_of(device)];
  if (!here) {
    const std::lock_guard<std::mutex> guard(lock);
    const auto found = devices.find(number_of(device));
    here = found == devices.end() ? nullptr : &found->second;
  }
  return here;
}

Function compiled(const Ready &ready, const std::string &kernel) {
  Program program;
  if (interface->create(&program, ready.source, "pleach.cu", 0, nullptr, nullptr)) {
    throw std::runtime_error("NVRTC does not start");
  }
  const std::unique_ptr<Program, int (*)(Program *)> end(&program, interface->destroy);
  const char *const options[] = {ready.option.c_str(), "--std=c++17"};
  interface->add_name(program, kernel.c_str());
  if (interface->compile(program, 2, options)) {
    size_t size = 1;
    interface->log_size(program, &size);
    std::vector<char> log(size + 1);
    interface->log(program, log.data());
    throw std::runtime_error("compiling " + kernel + ": " + log.data());
  }
  const char *name = nullptr;
  size_t size = 0;
  if (interface->lowered_name(program, kernel.c_str(), &name) || interface->binary_size(program, &size)) {
    throw std::runtime_error("NVRTC gave no binary of " + kernel);
  }
  std::vector<char> binary(size);
  interface->binary(program, binary.data());
  Module module;
  Function function;
  check(interface->load_module(&module, binary.data()), "loading ", kernel);
  check(interface->get_function(&function, module, name), "finding ", kernel);
  return function;
}

// The function of a kernel, compiled if it is the first time.
Function find(const at::Device &device, const std::string &kernel) {
  Ready &here = *ready(device);
  const std::lock_guard<std::mutex> guard(lock);
  enter(here.handle);
  const auto known = here.functions.find(kernel);
  return known != here.functions.end() ? known->second
                                       : here.functions.emplace(kernel, compiled(here, kernel)).first->second;
}

} // namespace

bool is_ready(const at::Device &device) { return device.is_cuda() && ready(device); }

int64_t processors(const at::Device &device) { return ready(device)->processors; }

OwnRoom::OwnRoom(at::Tensor &room) { own_room = &room; }
OwnRoom::~OwnRoom() { own_room = nullptr; }

float *room(const at::Device &device, int64_t count) {
  const auto zeros = [&] { return at::zeros({count}, at::TensorOptions(device).dtype(at::kFloat)); };
  if (own_room) {
    if (!own_room->defined()) {
      *own_room = zeros();
    }
    return own_room->data_ptr<float>();
  }
  static thread_local std::map<std::pair<int, c10::StreamId>, float *> known;
  const c10::impl::VirtualGuardImpl streams(c10::DeviceType::CUDA);
  const c10::StreamId stream = streams.getStream(device).id();
  float *&here = known[{number_of(device), stream}];
  if (!here) {
    Ready *const found = ready(device);
    const std::lock_guard<std::mutex> guard(lock);
    at::Tensor *&room = found->rooms[stream];
    if (!room) {
      room = new at::Tensor(zeros());
    }
    here = room->data_ptr<float>();
  }
  return here;
}

void launch(const at::Device &device, const std::string &kernel, const Grid &grid, void **arguments) {
  // What this thread has started before, by device.
  static thread_local std::unordered_map<int, std::unordered_map<std::string, Function>> known;
  auto &functions = known[number_of(device)];
  auto function = functions.find(kernel);
  if (function == functions.end()) {
    function = functions.emplace(kernel, find(device, kernel)).first;
  }
  const c10::impl::VirtualGuardImpl streams(c10::DeviceType::CUDA);
  void *const stream = streams.getStream(device).native_handle();
  check(
      interface->launch(
          function->second, grid.blocks[0], grid.blocks[1], 1, grid.threads, 1, 1, 0, stream, arguments, nullptr),
      "starting ", kernel);
}

} // namespace pleach::cuda

extern "C" {

// Finds what kernels are compiled with, for the CUDA device of a number. `library` is the path of libtorch's
// library for run-time compilation, `source` that of the kernels, which is kept.
char *pleach_cuda(int device, const char *library, const char *source) {
  using namespace pleach::cuda;
  return pleach::guarded([&] {
    const std::lock_guard<std::mutex> guard(lock);
    if (devices.count(device)) {
      return;
    }
    // The thread's context becomes the one that libtorch uses.
    const c10::DeviceGuard there(c10::Device(c10::DeviceType::CUDA, device));
    at::empty({1}, at::TensorOptions(there.current_device()));
    if (!interface) {
      interface = new Interface(library);
    }
    int handle, processors, major, minor;
    check(interface->get_device(&handle, device), "asking for a device");
    check(interface->get_attribute(&processors, PROCESSORS, handle), "asking for processors");
    check(interface->get_attribute(&major, MAJOR, handle), "asking for what a device can do");
    check(interface->get_attribute(&minor, MINOR, handle), "asking for what a device can do");
    enter(handle);
    const std::string option = "--gpu-architecture=sm_" + std::to_string(10 * major + minor);
    Ready ready{handle, option, source, processors, {}, {}};
    // If one can be compiled and loaded, so can the others.
    const std::string first = "affine<float>";
    ready.functions.emplace(first, compiled(ready, first));
    devices.emplace(device, std::move(ready));
  });
}

} // extern "C"
