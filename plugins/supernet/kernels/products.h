// Matrix products of rows of channels, for one instruction set: what convolutions of single points
// and their gradients are.

#pragma once

#include "cpu.h"
#include "vectors.h"

namespace pleach {
namespace {

// So many rows are computed at a time: their sums, of two vectors each, fill the registers.
constexpr int TILE = WIDTH == 16 ? 12 : 6;

// Computes ROWS rows of VECTORS vectors of channels.
template <int ROWS, int VECTORS>
inline void tile(const Product &of, const float *input, const float *weight, int64_t channel, float *output) {
  const int64_t valid = of.outputs - channel < VECTORS * WIDTH ? of.outputs - channel : VECTORS * WIDTH;
  const auto lanes = [&](int vector) {
    const int64_t rest = valid - vector * WIDTH;
    return rest < WIDTH ? rest : WIDTH;
  };
  Vector sums[ROWS][VECTORS];
#pragma GCC unroll 2
  for (int vector = 0; vector < VECTORS; vector++) {
    const Vector first = of.bias ? load_some(of.bias + channel + vector * WIDTH, lanes(vector)) : Vector{};
#pragma GCC unroll 12
    for (int row = 0; row < ROWS; row++) {
      sums[row][vector] = first;
    }
  }
  for (int64_t from = 0; from < of.inputs; from++) {
    Vector factors[VECTORS];
#pragma GCC unroll 2
    for (int vector = 0; vector < VECTORS; vector++) {
      factors[vector] = load(weight + from * PAIR + vector * WIDTH);
    }
#pragma GCC unroll 12
    for (int row = 0; row < ROWS; row++) {
      const Vector value = every(input[row * of.inputs + from]);
#pragma GCC unroll 2
      for (int vector = 0; vector < VECTORS; vector++) {
        sums[row][vector] += value * factors[vector];
      }
    }
  }
#pragma GCC unroll 2
  for (int vector = 0; vector < VECTORS; vector++) {
#pragma GCC unroll 12
    for (int row = 0; row < ROWS; row++) {
      const Vector sum = of.is_bounded ? bounded(sums[row][vector], of.least, of.most) : sums[row][vector];
      store_some(output + row * of.outputs + vector * WIDTH, sum, lanes(vector));
    }
  }
}

void product(const Product &of, int64_t rows) {
  const float *input = of.input;
  float *output = of.output;
  const auto compute = [&](auto count) {
    constexpr int ROWS = decltype(count)::VALUE;
    for (; rows >= ROWS; rows -= ROWS) {
      for (int64_t channel = 0; channel < of.outputs; channel += PAIR) {
        const float *weight = of.weight + channel * of.inputs;
        if (of.outputs - channel > WIDTH) {
          tile<ROWS, 2>(of, input, weight, channel, output + channel);
        } else {
          tile<ROWS, 1>(of, input, weight, channel, output + channel);
        }
      }
      input += ROWS * of.inputs;
      output += ROWS * of.outputs;
    }
  };
  compute(Count<TILE>());
  compute(Count<2>());
  compute(Count<1>());
}

// Adds the products of COUNT channels of the gradient with two vectors of the input's, over all rows.
template <int COUNT>
inline void outer(const Outer &of, int64_t rows, int64_t output, const float *inputs, int64_t input) {
  Vector sums[COUNT][2] = {};
  for (int64_t row = 0; row < rows; row++) {
    const Vector low = load(inputs + row * PAIR), high = load(inputs + row * PAIR + WIDTH);
#pragma GCC unroll 12
    for (int index = 0; index < COUNT; index++) {
      const Vector value = every(of.gradient[row * of.outputs + output + index]);
      sums[index][0] += value * low;
      sums[index][1] += value * high;
    }
  }
#pragma GCC unroll 12
  for (int index = 0; index < COUNT; index++) {
#pragma GCC unroll 2
    for (int vector = 0; vector < 2; vector++) {
      const int64_t rest = of.inputs - input - vector * WIDTH;
      if (rest > 0) {
        float *to = of.sum + (output + index) * of.inputs + input + vector * WIDTH;
        const int64_t valid = rest < WIDTH ? rest : WIDTH;
        store_some(to, load_some(to, valid) + sums[index][vector], valid);
      }
    }
  }
}

void add_outer(const Outer &of, int64_t rows) {
  for (int64_t input = 0; input < of.inputs; input += PAIR) {
    gather(of.input + input, of.inputs, rows, of.inputs - input < PAIR ? of.inputs - input : PAIR, of.window);
    int64_t output = 0;
    const auto compute = [&](auto count) {
      constexpr int COUNT = decltype(count)::VALUE;
      for (; output + COUNT <= of.outputs; output += COUNT) {
        outer<COUNT>(of, rows, output, of.window, input);
      }
    };
    compute(Count<TILE>());
    compute(Count<2>());
    compute(Count<1>());
  }
}

} // namespace
} // namespace pleach
