// What a chain computes on a CUDA device beside matrix products: batch norms by the batch's statistics
// with their activations (`norms.cu`), and depthwise convolutions (`depthwise.cu`). Compiled as one source
// where they run, with NVRTC.
//
// Tensors are channels-last: rows are the places of all images, of `channels` numbers each, a multiple
// of 8. A block takes 64 channels.

struct Half {
  // The upper half of a single-precision number (bfloat16).
  unsigned short bits;
};

// The nearest pair of bfloat16, the first in the lower half.
__device__ inline unsigned int narrowed(float first, float second) {
#if __CUDA_ARCH__ >= 800
  unsigned int both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
  return both;
#else
  const auto one = [](float value) {
    const unsigned int bits = __float_as_uint(value);
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  };
  return one(first) | one(second) << 16;
#endif
}

// Two numbers as they lie in memory.
template <class T> struct PairOf;
template <> struct PairOf<float> {
  using Type = float2;
};
template <> struct PairOf<Half> {
  using Type = unsigned int;
};
template <class T> using Pair = typename PairOf<T>::Type;

__device__ inline float2 unpacked(float2 pair) { return pair; }
__device__ inline float2 unpacked(unsigned int pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}

// The same where all bits of the mask are set, zeros where none is.
__device__ inline unsigned int masked(unsigned int pair, unsigned int mask) { return pair & mask; }
__device__ inline float2 masked(float2 pair, unsigned int mask) {
  return make_float2(__uint_as_float(__float_as_uint(pair.x) & mask), __uint_as_float(__float_as_uint(pair.y) & mask));
}

template <class T> __device__ inline float2 read_pair(const T *from) {
  return unpacked(*reinterpret_cast<const Pair<T> *>(from));
}

// Writes a pair, and gives what is read there from now on.
__device__ inline float2 write_pair(float2 pair, float *to) {
  *reinterpret_cast<float2 *>(to) = pair;
  return pair;
}
__device__ inline float2 write_pair(float2 pair, Half *to) {
  const unsigned int both = narrowed(pair.x, pair.y);
  *reinterpret_cast<unsigned int *>(to) = both;
  return unpacked(both);
}

// Eight numbers at once.
__device__ inline void read(const float *from, float *to) {
  const float4 low = reinterpret_cast<const float4 *>(from)[0], high = reinterpret_cast<const float4 *>(from)[1];
  to[0] = low.x, to[1] = low.y, to[2] = low.z, to[3] = low.w;
  to[4] = high.x, to[5] = high.y, to[6] = high.z, to[7] = high.w;
}
__device__ inline void read(const Half *from, float *to) {
  const uint4 all = *reinterpret_cast<const uint4 *>(from);
  const unsigned int pairs[4] = {all.x, all.y, all.z, all.w};
#pragma unroll
  for (int pair = 0; pair < 4; pair++) {
    to[2 * pair] = __uint_as_float(pairs[pair] << 16);
    to[2 * pair + 1] = __uint_as_float(pairs[pair] & 0xffff0000u);
  }
}
__device__ inline void write(const float *from, float *to) {
  reinterpret_cast<float4 *>(to)[0] = make_float4(from[0], from[1], from[2], from[3]);
  reinterpret_cast<float4 *>(to)[1] = make_float4(from[4], from[5], from[6], from[7]);
}
__device__ inline void write(const float *from, Half *to) {
  *reinterpret_cast<uint4 *>(to) = make_uint4(
      narrowed(from[0], from[1]), narrowed(from[2], from[3]), narrowed(from[4], from[5]), narrowed(from[6], from[7]));
}
