// Work of Rust on libtorch's threads, and on streams of a CUDA device.

#include "errors.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/AutogradState.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <omp.h>
#include <optional>
#include <vector>

namespace {

// That OpenMP starts no more threads from this one.
class OneThread {
public:
  explicit OneThread(bool is_wanted) : before(threads()), is_set(is_wanted) {
    if (is_set) {
      omp_set_num_threads(1);
    }
  }
  ~OneThread() {
    if (is_set) {
      omp_set_num_threads(before);
    }
  }
  OneThread(const OneThread &) = delete;
  OneThread &operator=(const OneThread &) = delete;

private:
  // How many there may be, asked such that libtorch sets it no more: the first time that it computes with a
  // thread it does so, once here and once in its own library.
  static int threads() {
    at::internal::lazy_init_num_threads();
    return at::get_num_threads();
  }

  const int before;
  const bool is_set;
};

// That backward passes are computed by the thread that asks for them. Otherwise one thread of libtorch's computes
// those of all threads, and starting kernels takes it longer than the device takes to compute them.
class OwnBackward {
public:
  OwnBackward() : before(state().get_multithreading_enabled()) { state().set_multithreading_enabled(false); }
  ~OwnBackward() { state().set_multithreading_enabled(before); }
  OwnBackward(const OwnBackward &) = delete;
  OwnBackward &operator=(const OwnBackward &) = delete;

private:
  static c10::AutogradState &state() { return c10::AutogradState::get_tls_state(); }

  const bool before;
};

// Streams of a CUDA device, one for each thread. What is started on them waits for what the caller has started
// before, and what the caller starts after `join` waits for them.
//
// A stream's memory stays with it: what a thread gave back is taken by nobody but its stream, which has waited
// for the caller before it does so.
class Streams {
public:
  Streams(int number, size_t count)
      : device(c10::DeviceType::CUDA, number), implementation(device.type()), caller(implementation.getStream(device)),
        begun(device.type()) {
    // Gradients of what paths share are handed over between streams, which libtorch would remark on.
    at::globalContext().setWarnOnAccumulateGradStreamMismatch(false);
    static std::mutex lock;
    static std::map<int, std::vector<c10::Stream>> known;
    const std::lock_guard<std::mutex> guard(lock);
    auto &all = known[number];
    while (all.size() < count) {
      all.push_back(implementation.getStreamFromGlobalPool(device));
    }
    streams.assign(all.begin(), all.begin() + count);
    begun.record(caller);
  }

  // The stream of a thread.
  c10::Stream of(size_t thread) const {
    begun.block(streams[thread]);
    return streams[thread];
  }

  void join() const {
    for (const c10::Stream &stream : streams) {
      c10::Event ended(device.type());
      ended.record(stream);
      ended.block(caller);
    }
  }

private:
  const c10::Device device;
  const c10::impl::VirtualGuardImpl implementation;
  const c10::Stream caller;
  std::vector<c10::Stream> streams;
  c10::Event begun;
};

} // namespace

extern "C" {

// Calls `work` with each number below `count`, from this many of libtorch's threads. Inside, a call of
// libtorch is computed by the thread that makes it alone. With the number of a CUDA device, -1 for none, each thread
// has a stream of its own there.
char *pleach_side_by_side(
    size_t count, size_t threads, int device, void (*work)(void *context, size_t number), void *context) {
  return pleach::guarded([&] {
    const size_t used = std::min(count, threads);
    std::optional<Streams> streams;
    if (device >= 0 && used > 1) {
      streams.emplace(device, used);
    }
    std::atomic<size_t> next{0};
    at::parallel_for(0, static_cast<int64_t>(used), 1, [&](int64_t thread, int64_t) {
      // oneDNN prepares for as many threads as there may be, also where a thread computes alone.
      const OneThread one_thread(threads > 1);
      const OwnBackward own_backward;
      c10::OptionalStreamGuard stream;
      if (streams) {
        stream.reset_stream(streams->of(static_cast<size_t>(thread)));
      }
      for (size_t number = next++; number < count; number = next++) {
        work(context, number);
      }
    });
    if (streams) {
      streams->join();
    }
  });
}

// Calls `work` on a stream of a CUDA device that is not the default one: the current one if it is none, else one that
// begins when what was started before has ended, and is waited for by what is started after.
char *pleach_on_stream(int device, void (*work)(void *context), void *context) {
  return pleach::guarded([&] {
    const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    const c10::Device here(c10::DeviceType::CUDA, device);
    if (cuda.getStream(here) != cuda.getDefaultStream(here)) {
      work(context);
      return;
    }
    const Streams streams(device, 1);
    {
      const OwnBackward own_backward;
      const c10::StreamGuard stream(streams.of(0));
      work(context);
    }
    streams.join();
  });
}

} // extern "C"
