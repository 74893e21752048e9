// Depthwise convolutions and the gradients of their weights, for one instruction set.

#pragma once

#include "cpu.h"
#include "vectors.h"

namespace pleach {
namespace {

// So many neighbours of a row are computed at a time: their sums and a row of the kernel fill the
// registers, and a number that is loaded meets all taps.
constexpr int NEIGHBOURS = 8;

// Where a few neighbours of one row of the result come from.
template <int KERNEL> struct Meeting {
  const float *input[KERNEL], *weight[KERNEL];
  int rows;
};

// Computes COUNT neighbours of a vector of channels.
template <int KERNEL, int STRIDE, int COUNT>
inline void neighbours(
    const Meeting<KERNEL> &meeting, int64_t taps, Vector first, float least, float most, int64_t channels,
    int64_t valid, float *output) {
  Vector sums[COUNT];
#pragma GCC unroll 8
  for (int index = 0; index < COUNT; index++) {
    sums[index] = first;
  }
  for (int row = 0; row < meeting.rows; row++) {
    Vector weight[KERNEL];
#pragma GCC unroll 7
    for (int tap = 0; tap < KERNEL; tap++) {
      weight[tap] = load(meeting.weight[row] + tap * taps);
    }
#pragma GCC unroll 32
    for (int place = 0; place < (COUNT - 1) * STRIDE + KERNEL; place++) {
      const Vector value = load(meeting.input[row] + place * PAIR);
#pragma GCC unroll 7
      for (int tap = 0; tap < KERNEL; tap++) {
        if (place >= tap && (place - tap) % STRIDE == 0 && (place - tap) / STRIDE < COUNT) {
          sums[(place - tap) / STRIDE] += weight[tap] * value;
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int index = 0; index < COUNT; index++) {
    store_some(output + index * channels, bounded(sums[index], least, most), valid);
  }
}

// Takes a row of an image into the window, pair by pair of vectors of channels, and does to it what
// comes before the convolution.
inline void take(const Depthwise &shape, const Before *before, const float *from, int64_t padded, float *to) {
  for (int64_t position = 0; position < shape.width; position++) {
    groups(shape.channels, [&](int64_t channel, auto valid) {
      Vector value = load_some(from + position * shape.channels + channel, valid);
      if (before) {
        value = value * load_some(before->factor + channel, valid) + load_some(before->offset + channel, valid);
        value = bounded(value, before->least, before->most);
      }
      store_some(to + (channel / PAIR * padded + position) * PAIR + channel % PAIR, value, valid);
    });
  }
}

inline int64_t pairs_of(int64_t channels) { return (channels + PAIR - 1) / PAIR; }

template <int KERNEL, int STRIDE> void depthwise_of(const Convolution &of) {
  const Depthwise &shape = of.shape;
  const int64_t padded = shape.width + 2 * shape.padding, pairs = pairs_of(shape.channels), row = pairs * padded * PAIR;
  const int64_t bytes = shape.out_width * shape.channels * 4;
  int64_t taken = 0;
  for (int64_t y = 0; y < shape.out_height; y++) {
    const int64_t top = y * STRIDE - shape.padding;
    const int64_t needed = top + KERNEL < shape.height ? top + KERNEL : shape.height;
    for (; taken < needed; taken++) {
      float *to = of.window + taken % KERNEL * row + shape.padding * PAIR;
      take(shape, of.before, of.input + taken * shape.width * shape.channels, padded, to);
    }
    // The next row, which is written a little at a time.
    const char *next = reinterpret_cast<const char *>(of.output + (y + 1) * shape.out_width * shape.channels);
    for (int64_t line = 0; y + 1 < shape.out_height && line < bytes; line += 64) {
      __builtin_prefetch(next + line, 1);
    }
    const int first = top < 0 ? -top : 0, last = needed - top;
    for (int64_t channel = 0; channel < shape.channels; channel += WIDTH) {
      const int64_t valid = shape.channels - channel < WIDTH ? shape.channels - channel : WIDTH;
      Meeting<KERNEL> meeting;
      meeting.rows = last - first;
      for (int tap = first; tap < last; tap++) {
        meeting.input[tap - first] =
            of.window + (top + tap) % KERNEL * row + channel / PAIR * padded * PAIR + channel % PAIR;
        meeting.weight[tap - first] = of.weight + tap * KERNEL * of.taps + channel;
      }
      const Vector bias = of.bias ? load_some(of.bias + channel, valid) : Vector{};
      float *output = of.output + y * shape.out_width * shape.channels + channel;
      int64_t x = 0;
      const auto compute = [&](auto count) {
        constexpr int COUNT = decltype(count)::VALUE;
        for (; x + COUNT <= shape.out_width; x += COUNT) {
          neighbours<KERNEL, STRIDE, COUNT>(meeting, of.taps, bias, of.least, of.most, shape.channels, valid, output);
          output += COUNT * shape.channels;
          for (int tap = 0; tap < meeting.rows; tap++) {
            meeting.input[tap] += COUNT * STRIDE * PAIR;
          }
        }
      };
      compute(Count<NEIGHBOURS>());
      compute(Count<NEIGHBOURS / 2>());
      compute(Count<1>());
    }
  }
}

int64_t depthwise_window(const Depthwise &shape) {
  const bool is_known = (shape.kernel == 3 || shape.kernel == 5 || shape.kernel == 7) && shape.stride <= 2;
  return is_known ? shape.kernel * pairs_of(shape.channels) * PAIR * (shape.width + 2 * shape.padding) : 0;
}

void depthwise(const Convolution &of) {
  const bool is_one = of.shape.stride == 1;
  switch (of.shape.kernel) {
  case 3:
    return (is_one ? depthwise_of<3, 1> : depthwise_of<3, 2>)(of);
  case 5:
    return (is_one ? depthwise_of<5, 1> : depthwise_of<5, 2>)(of);
  case 7:
    return (is_one ? depthwise_of<7, 1> : depthwise_of<7, 2>)(of);
  }
}

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
  case 3:
    return with(depthwise_weight_of<3, 1>, depthwise_weight_of<3, 2>);
  case 5:
    return with(depthwise_weight_of<5, 1>, depthwise_weight_of<5, 2>);
  case 7:
    return with(depthwise_weight_of<7, 1>, depthwise_weight_of<7, 2>);
  default:
    return false;
  }
}

} // namespace
} // namespace pleach
