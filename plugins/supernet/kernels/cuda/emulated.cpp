// Runs the kernels of this folder on the CPU, thread by thread, and compares what they give with loops in double
// precision: no CUDA device or compiler is needed. Prints what is off and ends with 1 if anything is.
//
// A block's threads are contexts that take turns at `__syncthreads`. Blocks run one after the other, so what
// could go wrong between blocks is not found.

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

// What CUDA gives a kernel.
#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)

struct Place {
  int x = 1, y = 1;
};
static Place threadIdx, blockIdx, blockDim, gridDim;

struct float2 {
  float x, y;
};
struct float4 {
  float x, y, z, w;
};
struct uint4 {
  unsigned x, y, z, w;
};
static float2 make_float2(float x, float y) { return {x, y}; }
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

template <class To, class From> static To same_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "the bits are the same");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}
static float __uint_as_float(unsigned bits) { return same_bits<float>(bits); }
static unsigned __float_as_uint(float value) { return same_bits<unsigned>(value); }
static float4 __ldcg(const float4 *from) { return *from; }
static unsigned atomicAdd(unsigned *to, unsigned number) {
  const unsigned before = *to;
  *to += number;
  return before;
}
static void __threadfence() {}
static void __syncthreads();
using std::max;
using std::min;

#include "numbers.cu"
#include "norms.cu"
#include "depthwise.cu"

// A thread of the block that runs.
struct Thread {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(1 << 17);
  bool has_ended = false;
};
static std::vector<Thread> threads(256);
static ucontext_t others;
static size_t running;
static std::function<void()> body;

static void __syncthreads() { swapcontext(&threads[running].context, &others); }

static void begin() {
  body();
  threads[running].has_ended = true;
}

template <class Kernel> static void launch(Place grid, int count, const Kernel &kernel) {
  gridDim = grid, blockDim = {count, 1}, body = kernel;
  for (int block = 0; block < grid.x * grid.y; block++) {
    blockIdx = {block % grid.x, block / grid.x};
    for (int index = 0; index < count; index++) {
      Thread &thread = threads[index];
      thread.has_ended = false;
      getcontext(&thread.context);
      thread.context.uc_stack.ss_sp = thread.stack.data();
      thread.context.uc_stack.ss_size = thread.stack.size();
      thread.context.uc_link = &others;
      makecontext(&thread.context, begin, 0);
    }
    // Each runs to its end or to where it waits for the others.
    for (bool is_done = false; !is_done;) {
      is_done = true;
      for (running = 0; running < size_t(count); running++) {
        if (!threads[running].has_ended) {
          threadIdx = {int(running), 0};
          swapcontext(&others, &threads[running].context);
          is_done &= threads[running].has_ended;
        }
      }
    }
  }
}

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

static const float infinity = std::numeric_limits<float>::infinity();
static std::mt19937 generator(3);
static bool is_well = true;

static Floats random_floats(size_t count, float mean = 0.0f) {
  std::normal_distribution<float> distribution(mean);
  Floats values(count);
  std::generate(values.begin(), values.end(), [&] { return distribution(generator); });
  return values;
}

// Whether numbers are what they should be, as a share of the largest one.
static void check(const std::string &what, const Floats &found, const Doubles &expected, double allowed) {
  double furthest = found.size() == expected.size() ? 0.0 : infinity, largest = 1e-9;
  for (size_t index = 0; index < std::min(found.size(), expected.size()); index++) {
    const double difference = std::fabs(found[index] - expected[index]);
    furthest = difference <= furthest ? furthest : difference;
    largest = std::max(largest, std::fabs(expected[index]));
  }
  if (!(furthest <= allowed * largest)) {
    std::printf("%s: %g off, largest %g\n", what.c_str(), furthest, largest);
    is_well = false;
  }
}

// Numbers as tensors have them, and back.
static std::vector<float> stored(const Floats &values, float) { return values; }
static std::vector<Half> stored(const Floats &values, Half) {
  std::vector<Half> halves;
  for (const float value : values) {
    halves.push_back({static_cast<unsigned short>(narrowed(value, value) & 0xffffu)});
  }
  return halves;
}
static Floats read_back(const std::vector<float> &values) { return values; }
static Floats read_back(const std::vector<Half> &halves) {
  Floats values;
  for (const Half half : halves) {
    values.push_back(__uint_as_float(unsigned(half.bits) << 16));
  }
  return values;
}

// A batch norm with ReLU6 behind it and a tensor added, forward and back.
template <class T> static void batch_norm(int rows, int channels, double allowed) {
  const size_t count = size_t(rows) * channels;
  const auto values = stored(random_floats(count, 2.0f), T()), gradients = stored(random_floats(count), T());
  const auto added = stored(random_floats(count), T());
  const Floats scale = random_floats(channels), shift = random_floats(channels);
  Floats parts(3 * 2 * channels), normal(4 * channels), slopes(2 * channels), own(2 * channels);
  Floats mean(channels), variance(channels, 1.0f);
  std::vector<unsigned> ended(channels);
  std::vector<T> output(count), back(count);
  const Place grid{(channels + 63) / 64, 3};
  const Sums sums{parts.data(), ended.data()};
  const BatchNorm norm{scale.data(), shift.data(), mean.data(),  variance.data(),
                       0.1,          1e-5,         double(rows), normal.data()};
  launch(grid, 256, [&] { moments<T>(values.data(), rows, channels, sums, norm); });
  launch(grid, 256, [&] {
    affine<T>(
        values.data(), normal.data(), normal.data() + channels, 0, 6, added.data(), rows, channels, output.data());
  });
  launch(grid, 256, [&] {
    gradient_moments<T>(
        gradients.data(), values.data(), normal.data(), 0, 6, rows, channels, sums, slopes.data(), own.data());
  });
  launch(grid, 256, [&] {
    gradient_affine<T>(
        gradients.data(), values.data(), normal.data(), slopes.data(), 0, 6, rows, channels, back.data());
  });
  const Floats x = read_back(values), g = read_back(gradients), plus = read_back(added);
  Doubles expected(count), expected_back(count), expected_own(2 * channels), means(channels), variances(channels);
  for (int channel = 0; channel < channels; channel++) {
    double sum = 0.0, squares = 0.0;
    for (int row = 0; row < rows; row++) {
      sum += x[row * channels + channel];
    }
    const double middle = sum / rows;
    for (int row = 0; row < rows; row++) {
      squares += std::pow(x[row * channels + channel] - middle, 2);
    }
    const double inverse = 1.0 / std::sqrt(squares / rows + 1e-5);
    means[channel] = 0.1 * middle;
    variances[channel] = 0.9 + 0.1 * squares / (rows - 1);
    double &product = expected_own[channel], &total = expected_own[channels + channel];
    const auto passing = [&](int place, double normalised) {
      const double before = normalised * scale[channel] + shift[channel];
      return before > 0.0 && before < 6.0 ? double(g[place]) : 0.0;
    };
    for (int row = 0; row < rows; row++) {
      const int place = row * channels + channel;
      const double normalised = (x[place] - middle) * inverse;
      expected[place] = std::clamp(normalised * scale[channel] + shift[channel], 0.0, 6.0) + plus[place];
      total += passing(place, normalised);
      product += passing(place, normalised) * normalised;
    }
    for (int row = 0; row < rows; row++) {
      const int place = row * channels + channel;
      const double normalised = (x[place] - middle) * inverse;
      expected_back[place] =
          scale[channel] * inverse * (passing(place, normalised) - total / rows - normalised * product / rows);
    }
  }
  const std::string name = "batch norm of " + std::to_string(channels) + " channels, ";
  check(name + "output", read_back(output), expected, allowed);
  check(name + "gradient", read_back(back), expected_back, allowed);
  check(name + "parameters", own, expected_own, 1e-5);
  check(name + "running mean", mean, means, 1e-5);
  check(name + "running variance", variance, variances, 1e-5);
  check(name + "counters", Floats(ended.begin(), ended.end()), Doubles(channels), 0.0);
}

// A depthwise convolution: its results, their statistics, an activation behind it, and its gradients.
template <int KERNEL, int STRIDE> static void convolution(int images, int height, int width, int channels, int rows) {
  constexpr int PADDING = KERNEL / 2, TAPS = KERNEL * KERNEL, COLUMNS = 4, DOWN = 3;
  const int out_height = (height + 2 * PADDING - KERNEL) / STRIDE + 1;
  const int out_width = (width + 2 * PADDING - KERNEL) / STRIDE + 1;
  const Shape shape{images, channels, height, width, out_height, out_width};
  const size_t read = size_t(images) * height * width * channels;
  const size_t written = size_t(images) * out_height * out_width * channels;
  const Floats input = random_floats(read), gradients = random_floats(written), bias = random_floats(channels);
  const Floats weights = random_floats(size_t(channels) * TAPS);
  Doubles expected(written), expected_back(read), expected_weight(weights.size()), inverses(channels);
  for (int place = 0; place < int(written); place++) {
    const int channel = place % channels, column = place / channels % out_width;
    const int row = place / channels / out_width % out_height, image = place / channels / out_width / out_height;
    for (int tap = 0; tap < TAPS; tap++) {
      const int y = STRIDE * row + tap / KERNEL - PADDING, x = STRIDE * column + tap % KERNEL - PADDING;
      if (y >= 0 && y < height && x >= 0 && x < width) {
        const size_t from = ((size_t(image) * height + y) * width + x) * channels + channel;
        const size_t weight = size_t(channel) * TAPS + tap;
        expected[place] += double(input[from]) * weights[weight];
        expected_back[from] += double(gradients[place]) * weights[weight];
        expected_weight[weight] += double(gradients[place]) * input[from];
      }
    }
  }
  const double count = double(images) * out_height * out_width;
  for (int channel = 0; channel < channels; channel++) {
    double sum = 0.0, squares = 0.0;
    for (size_t place = channel; place < written; place += channels) {
      sum += expected[place];
      squares += expected[place] * expected[place];
    }
    inverses[channel] = 1.0 / std::sqrt(squares / count - std::pow(sum / count, 2) + 1e-5);
  }
  Doubles activated(expected);
  for (size_t place = 0; place < written; place++) {
    activated[place] = std::clamp(expected[place] + bias[place % channels], 0.0, 6.0);
  }

  const Place grid{(channels + 63) / 64, DOWN};
  Floats output(written), back(read), parts(DOWN * 2 * channels), normal(4 * channels), weight(weights.size());
  std::vector<unsigned> ended(channels);
  const Sums sums{parts.data(), ended.data()};
  const BatchNorm none{}, norm{nullptr, nullptr, nullptr, nullptr, 0.0, 1e-5, count, normal.data()};
  const std::string name = "kernel " + std::to_string(KERNEL) + ", stride " + std::to_string(STRIDE) + ", " +
      std::to_string(height) + " x " + std::to_string(width) + ", ";
  const auto forward = [&](const float *biases, float least, float most, const BatchNorm &following) {
    launch(grid, 128, [&] {
      if constexpr (STRIDE == 1) {
        const auto kernel = following.normal ? depthwise<float, KERNEL, COLUMNS, STATISTICS>
                                             : depthwise<float, KERNEL, COLUMNS, ACTIVATION>;
        kernel(input.data(), weights.data(), 0, biases, least, most, shape, rows, output.data(), sums, following);
      } else {
        depthwise_halving<float, KERNEL, COLUMNS>(
            input.data(), weights.data(), biases, least, most, shape, output.data(), sums, following);
      }
    });
  };
  forward(nullptr, -infinity, infinity, norm);
  check(name + "results", output, expected, 2e-6);
  check(name + "statistics", Floats(normal.begin() + 3 * channels, normal.end()), inverses, 1e-5);
  forward(bias.data(), 0.0f, 6.0f, none);
  check(name + "activation", output, activated, 2e-6);
  int workers = DOWN;
  launch(grid, 128, [&] {
    if constexpr (STRIDE == 1) {
      depthwise<float, KERNEL, COLUMNS, NOTHING>(
          gradients.data(), weights.data(), 1, nullptr, -infinity, infinity, shape, rows, back.data(), sums, none);
    } else {
      depthwise_doubling<float, KERNEL, COLUMNS>(gradients.data(), weights.data(), shape, back.data());
    }
  });
  check(name + "gradient", back, expected_back, 2e-6);
  Floats of_weight(size_t(2 * DOWN) * TAPS * channels);
  if constexpr (STRIDE == 1) {
    workers = 2 * DOWN;
    launch(grid, 64, [&] {
      depthwise_weight<float, KERNEL, COLUMNS>(input.data(), gradients.data(), shape, rows, of_weight.data());
    });
  } else {
    launch(grid, 32 * KERNEL, [&] {
      depthwise_weight_halving<float, KERNEL, COLUMNS>(input.data(), gradients.data(), shape, of_weight.data());
    });
  }
  launch({(TAPS * channels + 31) / 32, 1}, 256, [&] {
    add_weights(of_weight.data(), workers, TAPS, channels, weight.data());
  });
  check(name + "gradient of the weight", weight, expected_weight, 2e-6);
}

// What is no number reaches its own channel and, in a convolution, its neighbours.
static void no_numbers() {
  constexpr int ROWS = 25, CHANNELS = 16;
  const float none = std::numeric_limits<float>::quiet_NaN();
  Floats values = random_floats(ROWS * CHANNELS), output(values.size()), gradients(values.size(), 1.0f);
  Floats parts(2 * CHANNELS), normal(4 * CHANNELS), slopes(2 * CHANNELS), back(values.size());
  const Floats weights(CHANNELS * 9, 1.0f), bias(CHANNELS);
  values[12 * CHANNELS + 5] = none;
  std::vector<unsigned> ended(CHANNELS);
  const Sums sums{parts.data(), ended.data()};
  const BatchNorm nothing{}, norm{nullptr, nullptr, nullptr, nullptr, 0.0, 1e-5, ROWS, normal.data()};
  const auto lost = [](const Floats &of) {
    return double(std::count_if(of.begin(), of.end(), [](float one) { return std::isnan(one); }));
  };
  launch({1, 1}, 256, [&] { moments<float>(values.data(), ROWS, CHANNELS, sums, norm); });
  launch({1, 1}, 256, [&] {
    affine<float>(values.data(), normal.data(), normal.data() + CHANNELS, 0, 6, nullptr, ROWS, CHANNELS, output.data());
  });
  check("no number in a batch norm", {float(lost(output))}, {ROWS}, 0.0);
  launch({1, 1}, 256, [&] {
    gradient_moments<float>(
        gradients.data(), values.data(), normal.data(), 0, 6, ROWS, CHANNELS, sums, slopes.data(), nullptr);
  });
  launch({1, 1}, 256, [&] {
    gradient_affine<float>(
        gradients.data(), values.data(), normal.data(), slopes.data(), 0, 6, ROWS, CHANNELS, back.data());
  });
  check("no number on the way back", {float(lost(back))}, {ROWS}, 0.0);
  const Shape shape{1, CHANNELS, 5, 5, 5, 5};
  launch({1, 1}, 128, [&] {
    depthwise<float, 3, 4, ACTIVATION>(
        values.data(), weights.data(), 0, bias.data(), 0, 6, shape, 5, output.data(), sums, nothing);
  });
  check("no number in a convolution", {float(lost(output))}, {9}, 0.0);
}

template <int KERNEL> static void convolutions() {
  // Channels of one group and more, images wider and narrower than what a warp takes, cut and whole.
  convolution<KERNEL, 1>(2, 9, 11, 72, 9);
  convolution<KERNEL, 1>(1, 8, 8, 64, 4);
  convolution<KERNEL, 1>(3, 5, 3, 8, 2);
  convolution<KERNEL, 1>(2, 1, 1, 16, 1);
  convolution<KERNEL, 2>(2, 9, 11, 72, 0);
  convolution<KERNEL, 2>(1, 8, 8, 64, 0);
  convolution<KERNEL, 2>(3, 5, 6, 8, 0);
}

int main() {
  batch_norm<float>(77, 40, 2e-6);
  batch_norm<float>(33, 1032, 2e-6);
  batch_norm<Half>(77, 40, 5e-3);
  batch_norm<Half>(2, 64, 5e-3);
  no_numbers();
  convolutions<3>();
  convolutions<5>();
  convolutions<7>();
  return is_well ? 0 : 1;
}
