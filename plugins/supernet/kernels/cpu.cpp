// The kernels of `cpu.h` for one instruction set: PLEACH_SET names it, PLEACH_WIDTH says how many
// floats it takes at once. Only what is in unnamed namespaces may be called: an inline function of
// another header, compiled here, could replace the one that the rest of the process uses.

#include "cpu.h"
#include "depthwise.h"
#include "products.h"
#include "vectors.h"

namespace pleach {
namespace {

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

// Sums of single precision run over so many rows before they are added up in double precision.
constexpr int64_t ROWS = 64;

// Adds to `first` and `second` what `term(row, channel, valid, first, second)` adds over all rows.
template <class Term>
inline void reduce(int64_t rows, int64_t channels, double *first, double *second, const Term &term) {
  for (int64_t begin = 0; begin < rows; begin += ROWS) {
    const int64_t end = rows - begin < ROWS ? rows : begin + ROWS;
    const auto add = [&](int64_t channel, int64_t valid, Vector one, Vector two) {
      for (int64_t lane = 0; lane < valid; lane++) {
        first[channel + lane] += one[lane];
        second[channel + lane] += two[lane];
      }
    };
    int64_t channel = 0;
    // A cache line or two of each row.
    for (; channel + PAIR <= channels; channel += PAIR) {
      Vector one[2] = {}, two[2] = {};
      for (int64_t row = begin; row < end; row++) {
        term(row, channel, Whole(), one[0], two[0]);
        term(row, channel + WIDTH, Whole(), one[1], two[1]);
      }
      add(channel, WIDTH, one[0], two[0]);
      add(channel + WIDTH, WIDTH, one[1], two[1]);
    }
    groups(channels - channel, [&](int64_t after, auto valid) {
      Vector one = {}, two = {};
      for (int64_t row = begin; row < end; row++) {
        term(row, channel + after, valid, one, two);
      }
      add(channel + after, valid, one, two);
    });
  }
}

void moments(const float *input, const float *origin, int64_t rows, int64_t channels, double *sums, double *squares) {
  reduce(rows, channels, sums, squares, [&](int64_t row, int64_t channel, auto valid, Vector &sum, Vector &square) {
    const Vector value = load_some(input + row * channels + channel, valid) - load_some(origin + channel, valid);
    sum += value;
    square += value * value;
  });
}

template <Activation ACTIVATION>
void affine_of(
    const float *input, const float *factor, const float *offset, const float *added, int64_t rows, int64_t channels,
    float *output) {
  const auto all = [&](const auto &end) {
    for (int64_t row = 0; row < rows; row++) {
      groups(channels, [&](int64_t channel, auto valid) {
        const Vector value = load_some(input + row * channels + channel, valid);
        const Vector normal = value * load_some(factor + channel, valid) + load_some(offset + channel, valid);
        const Vector activated = activate<ACTIVATION>(normal);
        store_some(output + row * channels + channel, end(activated, row * channels + channel, valid), valid);
      });
    }
  };
  if (added) {
    all([&](Vector value, int64_t place, auto valid) { return value + load_some(added + place, valid); });
  } else {
    all([](Vector value, int64_t, auto) { return value; });
  }
}

template <Activation ACTIVATION>
void gradient_moments_of(
    const float *input, const float *gradient, const float *factor, const float *offset, const float *mean,
    int64_t rows, int64_t channels, double *sums, double *products) {
  reduce(
      rows, channels, sums, products, [&](int64_t row, int64_t channel, auto valid, Vector &sum, Vector &product) {
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
    groups(channels, [&](int64_t channel, auto valid) {
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
    const float *input, const float *factor, const float *offset, Activation activation, const float *added,
    int64_t rows, int64_t channels, float *output) {
  const auto call = [&](auto function) { function(input, factor, offset, added, rows, channels, output); };
  switch (activation) {
  case Activation::None:
    return call(affine_of<Activation::None>);
  case Activation::Relu:
    return call(affine_of<Activation::Relu>);
  case Activation::Relu6:
    return call(affine_of<Activation::Relu6>);
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

} // namespace

#define PLEACH_TEXT(text) #text
#define PLEACH_NAME(set) PLEACH_TEXT(set)

extern const Kernels PLEACH_SET = {
    PLEACH_NAME(PLEACH_SET), PAIR, product, add_outer, moments, affine, gradient_moments, gradient_affine,
    depthwise_window, depthwise, depthwise_weight};

} // namespace pleach
