// CUDA graphs: what was started on a stream once, started again as a whole. libtorch's class for them is found at
// run time, for it is in libtorch's CUDA library and its header needs CUDA's.

#include "cuda.h"
#include "errors.h"

#include <ATen/core/Tensor.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstddef>
#include <dlfcn.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

// Of `at::cuda::CUDAGraph` (ATen/cuda/CUDAGraph.h), what is used here.
struct Interface {
  void (*construct)(void *, bool keep_graph);
  void (*destroy)(void *);
  void (*begin)(void *, std::pair<unsigned long long, unsigned long long> pool, int mode);
  void (*end)(void *);
  void (*replay)(void *);

  Interface() {
    find(construct, "_ZN2at4cuda9CUDAGraphC1Eb");
    find(destroy, "_ZN2at4cuda9CUDAGraphD1Ev");
    find(begin, "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode");
    find(end, "_ZN2at4cuda9CUDAGraph11capture_endEv");
    find(replay, "_ZN2at4cuda9CUDAGraph6replayEv");
  }

private:
  template <class Method> static void find(Method &method, const char *name) {
    void *const found = dlsym(RTLD_DEFAULT, name);
    if (!found) {
      throw std::runtime_error(std::string("this libtorch has no ") + name);
    }
    method = reinterpret_cast<Method>(found);
  }
};

const Interface &interface() {
  static const Interface found;
  return found;
}

// What other threads start on streams of their own is no part of a graph, and may be anything.
constexpr int THREAD_LOCAL = 1;

// More than libtorch's class takes, which has a dozen numbers and a map.
constexpr size_t SIZE = 1024;

} // namespace

extern "C" {

struct pleach_graph {
  alignas(std::max_align_t) unsigned char of_libtorch[SIZE];
  // For the sums of its kernels, which may run at the same time as others.
  at::Tensor room;

  pleach_graph() { interface().construct(of_libtorch, false); }
  ~pleach_graph() { interface().destroy(of_libtorch); }
};

// What `work` starts on the current stream of this thread, which is not the default one, without computing it.
// Tensors that it makes stay where they are as long as the graph.
char *pleach_graph_of(void (*work)(void *context), void *context, pleach_graph **graph) {
  *graph = nullptr;
  return pleach::guarded([&] {
    auto made = std::make_unique<pleach_graph>();
    {
      const pleach::cuda::OwnRoom room(made->room);
      interface().begin(made->of_libtorch, {0, 0}, THREAD_LOCAL);
      work(context);
      interface().end(made->of_libtorch);
    }
    *graph = made.release();
  });
}

// Starts it again on the current stream.
char *pleach_graph_replay(pleach_graph *graph) {
  return pleach::guarded([&] { interface().replay(graph->of_libtorch); });
}

void pleach_graph_free(pleach_graph *graph) {
  // libtorch says on standard error what fails while a graph is taken down, and throws nothing.
  delete graph;
}

} // extern "C"
