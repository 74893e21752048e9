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

} // namespace
} // namespace pleach
