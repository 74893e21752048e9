// Work of Rust on libtorch's threads.

#include "errors.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <omp.h>

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

} // namespace

// Calls `work` with each number below `count`, from this many of libtorch's threads. Inside, a call of
// libtorch is computed by the thread that makes it alone.
extern "C" char *pleach_side_by_side(
    size_t count, size_t threads, void (*work)(void *context, size_t number), void *context) {
  return pleach::guarded([&] {
    std::atomic<size_t> next{0};
    at::parallel_for(0, static_cast<int64_t>(std::min(count, threads)), 1, [&](int64_t, int64_t) {
      // oneDNN prepares for as many threads as there may be, also where a thread computes alone.
      const OneThread one_thread(threads > 1);
      for (size_t number = next++; number < count; number = next++) {
        work(context, number);
      }
    });
  });
}
