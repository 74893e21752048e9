// Vectors of floats of one instruction set, and groups of channels. Everything is in an unnamed
// namespace: what is compiled here for one processor may not be called on another.

#pragma once

#include <cstdint>

namespace pleach {
namespace {

constexpr int WIDTH = PLEACH_WIDTH;

typedef float Vector __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));

inline Vector load(const float *from) { return *reinterpret_cast<const Vector *>(from); }
inline void store(float *to, Vector value) { *reinterpret_cast<Vector *>(to) = value; }
inline Vector every(float value) { return value - Vector{}; }

// Two vectors of channels at a time: a cache line or two.
constexpr int PAIR = 2 * WIDTH;

// A number that a function's type says.
template <int COUNT> struct Count {
  static constexpr int VALUE = COUNT;
};

inline Vector bounded(Vector value, float least, float most) {
  // Comparisons are such that what is no number stays no number.
  value = value < every(least) ? every(least) : value;
  return value > every(most) ? every(most) : value;
}

// That all lanes of a vector are valid, known while compiling.
struct Whole {
  constexpr operator int64_t() const { return WIDTH; }
};

// Calls `body(channel, valid)` for each group of channels; the last may be narrower.
template <class Body> inline void groups(int64_t channels, const Body &body) {
  int64_t channel = 0;
  for (; channel + WIDTH <= channels; channel += WIDTH) {
    body(channel, Whole());
  }
  if (channel < channels) {
    body(channel, channels - channel);
  }
}

inline Vector load_some(const float *from, Whole) { return load(from); }

inline void store_some(float *to, Vector value, Whole) { store(to, value); }

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

// Copies `valid` channels of each of `count` positions, and fills up with zeros to a pair of vectors.
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

} // namespace
} // namespace pleach
