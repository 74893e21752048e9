// The kernels of `cpu.h` for one instruction set: PLEACH_SET names it, PLEACH_WIDTH says how many
// floats it takes at once. Only what stands in this file may be called: an inline function of a
// shared header, compiled here, could replace the one that the rest of the process uses.

#include "cpu.h"

namespace pleach {
namespace {

constexpr int WIDTH = PLEACH_WIDTH;

typedef float Vector __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));

inline Vector load(const float *from) { return *reinterpret_cast<const Vector *>(from); }
inline void store(float *to, Vector value) { *reinterpret_cast<Vector *>(to) = value; }
inline Vector every(float value) { return value - Vector{}; }

// Comparisons are such that what is no number stays no number.
template <Activation ACTIVATION> inline Vector activate(Vector value) {
  if (ACTIVATION != Activation::None) {
    value = value < every(0.0f) ? every(0.0f) : value;
  }
  if (ACTIVATION == Activation::Relu6) {
    value = value > every(6.0f) ? every(6.0f) : value;
  }
  return value;
}

// The gradient that passes an activation of `value`, at its bends as libtorch has it.
template <Activation ACTIVATION> inline Vector pass(Vector value, Vector gradient) {
  if (ACTIVATION == Activation::Relu) {
    return value <= every(0.0f) ? every(0.0f) : gradient;
  }
  if (ACTIVATION == Activation::Relu6) {
    gradient = value < every(0.0f) ? every(0.0f) : gradient;
    return value > every(6.0f) ? every(0.0f) : gradient;
  }
  return gradient;
}

// Calls `body(channel, valid)` for each group of channels; the last may be narrower.
template <class Body> inline void groups(int64_t channels, const Body &body) {
  for (int64_t channel = 0; channel < channels; channel += WIDTH) {
    body(channel, channels - channel < WIDTH ? channels - channel : WIDTH);
  }
}

inline Vector load_some(const float *from, int64_t valid) {
  if (valid == WIDTH) {
    return load(from);
  }
  Vector value = {};
  for (int64_t lane = 0; lane < valid; lane++) {
    value[lane] = from[lane];
  }
  return value;
}

inline void store_some(float *to, Vector value, int64_t valid) {
  if (valid == WIDTH) {
    return store(to, value);
  }
  for (int64_t lane = 0; lane < valid; lane++) {
    to[lane] = value[lane];
  }
}

// Sums of single precision run over so many rows before they are added up in double precision.
constexpr int64_t ROWS = 64;

// Adds to `first` and `second` what `term(row, channel, valid, first, second)` adds over all rows.
template <class Term>
inline void reduce(int64_t rows, int64_t channels, double *first, double *second, const Term &term) {
  for (int64_t begin = 0; begin < rows; begin += ROWS) {
    const int64_t end = rows - begin < ROWS ? rows : begin + ROWS;
    groups(channels, [&](int64_t channel, int64_t valid) {
      Vector one[2] = {}, two[2] = {};
      int64_t row = begin;
      for (; row + 1 < end; row += 2) {
        term(row, channel, valid, one[0], two[0]);
        term(row + 1, channel, valid, one[1], two[1]);
      }
      if (row < end) {
        term(row, channel, valid, one[0], two[0]);
      }
      const Vector ones = one[0] + one[1], twos = two[0] + two[1];
      for (int64_t lane = 0; lane < valid; lane++) {
        first[channel + lane] += ones[lane];
        second[channel + lane] += twos[lane];
      }
    });
  }
}

void moments(
    const float *input, const float *origin, int64_t rows, int64_t channels, double *sums, double *squares) {
  reduce(rows, channels, sums, squares, [&](int64_t row, int64_t channel, int64_t valid, Vector &sum, Vector &square) {
    const Vector value = load_some(input + row * channels + channel, valid) - load_some(origin + channel, valid);
    sum += value;
    square += value * value;
  });
}

template <Activation ACTIVATION>
void affine_of(
    const float *input, const float *factor, const float *offset, int64_t rows, int64_t channels, float *output) {
  for (int64_t row = 0; row < rows; row++) {
    groups(channels, [&](int64_t channel, int64_t valid) {
      const Vector value = load_some(input + row * channels + channel, valid);
      const Vector normal = value * load_some(factor + channel, valid) + load_some(offset + channel, valid);
      store_some(output + row * channels + channel, activate<ACTIVATION>(normal), valid);
    });
  }
}

template <Activation ACTIVATION>
void gradient_moments_of(
    const float *input, const float *gradient, const float *factor, const float *offset, const float *mean,
    int64_t rows, int64_t channels, double *sums, double *products) {
  reduce(rows, channels, sums, products, [&](int64_t row, int64_t channel, int64_t valid, Vector &sum, Vector &product) {
    const Vector value = load_some(input + row * channels + channel, valid);
    const Vector normal = value * load_some(factor + channel, valid) + load_some(offset + channel, valid);
    const Vector passed = pass<ACTIVATION>(normal, load_some(gradient + row * channels + channel, valid));
    sum += passed;
    product += passed * (value - load_some(mean + channel, valid));
  });
}

template <Activation ACTIVATION>
void gradient_affine_of(
    const float *input, const float *gradient, const float *factor, const float *offset, const float *slope,
    const float *level, int64_t rows, int64_t channels, float *output) {
  for (int64_t row = 0; row < rows; row++) {
    groups(channels, [&](int64_t channel, int64_t valid) {
      const Vector value = load_some(input + row * channels + channel, valid);
      const Vector scale = load_some(factor + channel, valid);
      const Vector normal = value * scale + load_some(offset + channel, valid);
      const Vector passed = pass<ACTIVATION>(normal, load_some(gradient + row * channels + channel, valid));
      const Vector moved = value * load_some(slope + channel, valid) + load_some(level + channel, valid);
      store_some(output + row * channels + channel, passed * scale + moved, valid);
    });
  }
}

void affine(
    const float *input, const float *factor, const float *offset, Activation activation, int64_t rows,
    int64_t channels, float *output) {
  switch (activation) {
  case Activation::None:
    return affine_of<Activation::None>(input, factor, offset, rows, channels, output);
  case Activation::Relu:
    return affine_of<Activation::Relu>(input, factor, offset, rows, channels, output);
  case Activation::Relu6:
    return affine_of<Activation::Relu6>(input, factor, offset, rows, channels, output);
  }
}

void gradient_moments(
    const float *input, const float *gradient, const float *factor, const float *offset, const float *mean,
    Activation activation, int64_t rows, int64_t channels, double *sums, double *products) {
  const auto call = [&](auto function) {
    function(input, gradient, factor, offset, mean, rows, channels, sums, products);
  };
  switch (activation) {
  case Activation::None:
    return call(gradient_moments_of<Activation::None>);
  case Activation::Relu:
    return call(gradient_moments_of<Activation::Relu>);
  case Activation::Relu6:
    return call(gradient_moments_of<Activation::Relu6>);
  }
}

void gradient_affine(
    const float *input, const float *gradient, const float *factor, const float *offset, const float *slope,
    const float *level, Activation activation, int64_t rows, int64_t channels, float *output) {
  const auto call = [&](auto function) {
    function(input, gradient, factor, offset, slope, level, rows, channels, output);
  };
  switch (activation) {
  case Activation::None:
    return call(gradient_affine_of<Activation::None>);
  case Activation::Relu:
    return call(gradient_affine_of<Activation::Relu>);
  case Activation::Relu6:
    return call(gradient_affine_of<Activation::Relu6>);
  }
}

// A depthwise weight gradient takes two vectors of channels at a time: a cache line or two.
constexpr int PAIR = 2 * WIDTH;

// Room for a window of padded input rows, and for the gradient rows that meet it, in floats. The
// second decides how many rows are taken at a time, and leaves both in the first cache.
constexpr int64_t WINDOW = 32768, MEETING = 4096;

// Adds to `weight` (KERNEL pairs of vectors) the products of a row of the gradient with a row of
// the input, which begins at the padding.
template <int KERNEL, int STRIDE>
inline void meet(const float *input, const float *gradient, int64_t positions, Vector (&weight)[KERNEL][2]) {
  for (int64_t position = 0; position < positions; position++) {
    const Vector low = load(gradient + position * PAIR), high = load(gradient + position * PAIR + WIDTH);
    const float *from = input + position * STRIDE * PAIR;
#pragma GCC unroll 7
    for (int tap = 0; tap < KERNEL; tap++) {
      weight[tap][0] += low * load(from + tap * PAIR);
      weight[tap][1] += high * load(from + tap * PAIR + WIDTH);
    }
  }
}

// Copies `valid` channels of each of `count` positions, and fills up with zeros.
inline void gather(const float *from, int64_t channels, int64_t count, int64_t valid, float *to) {
  if (valid == PAIR) {
    for (int64_t position = 0; position < count; position++) {
      store(to + position * PAIR, load(from + position * channels));
      store(to + position * PAIR + WIDTH, load(from + position * channels + WIDTH));
    }
    return;
  }
  for (int64_t position = 0; position < count; position++) {
    for (int64_t lane = 0; lane < PAIR; lane++) {
      to[position * PAIR + lane] = lane < valid ? from[position * channels + lane] : 0.0f;
    }
  }
}

template <int KERNEL, int STRIDE>
bool depthwise_weight_of(
    const Depthwise &shape, const float *input, const float *gradient, int64_t images, float *weight) {
  const int64_t padded = shape.width + 2 * shape.padding;
  // As many rows of the output at a time as there is room for what they read.
  int64_t rows = MEETING / (shape.out_width * PAIR);
  const int64_t fitting = WINDOW / (padded * PAIR) - KERNEL;
  rows = rows < fitting / STRIDE ? rows : fitting / STRIDE;
  if (rows < 1) {
    return false;
  }
  const int64_t window = rows * STRIDE + KERNEL;
  alignas(64) float inputs[WINDOW], gradients[MEETING];
  for (int64_t index = 0; index < window * padded * PAIR; index++) {
    inputs[index] = 0.0f;
  }
  for (int64_t image = 0; image < images; image++) {
    const float *from = input + image * shape.height * shape.width * shape.channels;
    const float *against = gradient + image * shape.out_height * shape.out_width * shape.channels;
    for (int64_t channel = 0; channel < shape.channels; channel += PAIR) {
      const int64_t valid = shape.channels - channel < PAIR ? shape.channels - channel : PAIR;
      Vector sums[KERNEL][KERNEL][2] = {};
      int64_t gathered = 0;
      for (int64_t first = 0; first < shape.out_height; first += rows) {
        const int64_t last = first + rows < shape.out_height ? first + rows : shape.out_height;
        const int64_t needed = (last - 1) * STRIDE - shape.padding + KERNEL;
        for (; gathered < (needed < shape.height ? needed : shape.height); gathered++) {
          gather(
              from + gathered * shape.width * shape.channels + channel, shape.channels, shape.width, valid,
              inputs + (gathered % window * padded + shape.padding) * PAIR);
        }
        gather(
            against + first * shape.out_width * shape.channels + channel, shape.channels,
            (last - first) * shape.out_width, valid, gradients);
        for (int tap = 0; tap < KERNEL; tap++) {
          Vector sum[KERNEL][2];
          for (int across = 0; across < KERNEL; across++) {
            sum[across][0] = sums[tap][across][0];
            sum[across][1] = sums[tap][across][1];
          }
          for (int64_t row = first; row < last; row++) {
            const int64_t read = row * STRIDE - shape.padding + tap;
            if (read >= 0 && read < shape.height) {
              meet<KERNEL, STRIDE>(
                  inputs + read % window * padded * PAIR, gradients + (row - first) * shape.out_width * PAIR,
                  shape.out_width, sum);
            }
          }
          for (int across = 0; across < KERNEL; across++) {
            sums[tap][across][0] = sum[across][0];
            sums[tap][across][1] = sum[across][1];
          }
        }
      }
      for (int tap = 0; tap < KERNEL * KERNEL; tap++) {
        const Vector *sum = sums[tap / KERNEL][tap % KERNEL];
        for (int64_t lane = 0; lane < valid; lane++) {
          weight[tap * shape.channels + channel + lane] += sum[lane / WIDTH][lane % WIDTH];
        }
      }
    }
  }
  return true;
}

bool depthwise_weight(
    const Depthwise &shape, const float *input, const float *gradient, int64_t images, float *weight) {
  const auto with = [&](auto one, auto two) {
    const auto function = shape.stride == 1 ? one : two;
    return function(shape, input, gradient, images, weight);
  };
  if (shape.stride != 1 && shape.stride != 2) {
    return false;
  }
  switch (shape.kernel) {
  case 5:
    return with(depthwise_weight_of<5, 1>, depthwise_weight_of<5, 2>);
  case 7:
    return with(depthwise_weight_of<7, 1>, depthwise_weight_of<7, 2>);
  default:
    return false;
  }
}

} // namespace

#define PLEACH_TEXT(text) #text
#define PLEACH_NAME(set) PLEACH_TEXT(set)

extern const Kernels PLEACH_SET = {
    PLEACH_NAME(PLEACH_SET), moments, affine, gradient_moments, gradient_affine, depthwise_weight};

} // namespace pleach
