// What a chain computes on a CUDA device beside matrix products: batch norms by the batch's statistics
// with their activations, and depthwise convolutions. Compiled where it runs, with NVRTC.
//
// Tensors are channels-last: rows are the places of all images, of `channels` numbers each, a multiple
// of 8. A block takes 64 channels. Sums over rows are written in parts, one for each block, which the last
// block to end adds up in a fixed order, so that the same numbers give the same sums.

struct Half {
  // The upper half of a single-precision number (bfloat16).
  unsigned short bits;
};

__device__ inline float widened(unsigned int bits) { return __uint_as_float(bits << 16); }

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

// A thread's part of all rows: eight channels of every `step`-th row.
struct Share {
  int channel, lane;
  long long first, step;
  bool is_idle;

  __device__ Share(int channels) {
    lane = threadIdx.x / 8;
    channel = 64 * blockIdx.x + 8 * (threadIdx.x % 8);
    first = (long long)blockIdx.y * (blockDim.x / 8) + lane;
    step = (long long)gridDim.y * (blockDim.x / 8);
    is_idle = channel >= channels;
  }
};

// Room for two sums over rows of each channel.
struct Sums {
  // Of shape (blocks, 2, channels).
  float *parts;
  // For each 64 channels how many blocks have ended; zeros before and after.
  unsigned int *ended;
};

// Adds up the lanes' sums, of shape (2, 8) in each thread, into the block's part.
__device__ inline void add_lanes(const Share &share, const float *sums, int channels, float *parts) {
  __shared__ float room[2][32][64];
  for (int which = 0; which < 2; which++) {
    for (int index = 0; index < 8; index++) {
      room[which][share.lane][8 * (threadIdx.x % 8) + index] = sums[8 * which + index];
    }
  }
  __syncthreads();
  const int which = threadIdx.x / 64, within = threadIdx.x % 64, channel = 64 * blockIdx.x + within;
  if (which < 2 && channel < channels) {
    float sum = 0.0f;
    for (int lane = 0; lane < blockDim.x / 8; lane++) {
      sum += room[which][lane][within];
    }
    parts[(2ll * blockIdx.y + which) * channels + channel] = sum;
  }
}

// Adds up the parts of all blocks in the block that ends last. True in one thread of it for each channel,
// which has the two sums.
__device__ inline bool add_parts(const Sums &of, int channels, double *sums, int &channel) {
  __shared__ bool is_last;
  __shared__ double room[8][128];
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(of.ended + blockIdx.x, 1u) == gridDim.y - 1;
    if (is_last) {
      of.ended[blockIdx.x] = 0;
    }
  }
  __syncthreads();
  if (!is_last) {
    return false;
  }
  __threadfence();
  // A warp takes a part at a time, four channels a thread.
  const int warp = threadIdx.x / 32, warps = blockDim.x / 32, which = threadIdx.x % 32 / 16;
  const int within = 4 * (threadIdx.x % 16), first = 64 * blockIdx.x + within;
  double all[4] = {};
  if (first < channels) {
#pragma unroll 16
    for (int part = warp; part < gridDim.y; part += warps) {
      const float *from = of.parts + (2ll * part + which) * channels + first;
      const float4 four = __ldcg(reinterpret_cast<const float4 *>(from));
      all[0] += four.x, all[1] += four.y, all[2] += four.z, all[3] += four.w;
    }
  }
  for (int index = 0; index < 4; index++) {
    room[warp][64 * which + within + index] = all[index];
  }
  __syncthreads();
  channel = 64 * blockIdx.x + threadIdx.x;
  if (threadIdx.x >= 64 || channel >= channels) {
    return false;
  }
  sums[0] = sums[1] = 0.0;
  for (int index = 0; index < warps; index++) {
    sums[0] += room[index][threadIdx.x];
    sums[1] += room[index][64 + threadIdx.x];
  }
  return true;
}

// A batch norm by the batch's statistics. Null for what it does not have.
struct BatchNorm {
  const float *scale, *shift;
  float *running_mean, *running_variance;
  double momentum, epsilon, rows;
  // What it multiplies by and adds, its mean and one over its deviation, of shape (4, channels); is written.
  float *normal;
};

// From the sums of differences from an origin and of their squares; running statistics follow.
__device__ inline void finish(const BatchNorm &of, const double *sums, double origin, int channel, int channels) {
  const double moved = sums[0] / of.rows, mean = origin + moved;
  const double squares = sums[1] / of.rows - moved * moved;
  // What is no number stays none.
  const double variance = squares < 0.0 ? 0.0 : squares, inverse = 1.0 / sqrt(variance + of.epsilon);
  const double factor = (of.scale ? of.scale[channel] : 1.0f) * inverse;
  of.normal[channel] = factor;
  of.normal[channels + channel] = (of.shift ? of.shift[channel] : 0.0f) - mean * factor;
  of.normal[2 * channels + channel] = mean;
  of.normal[3 * channels + channel] = inverse;
  if (of.running_mean) {
    of.running_mean[channel] += of.momentum * (mean - of.running_mean[channel]);
    of.running_variance[channel] += of.momentum * (variance * of.rows / (of.rows - 1.0) - of.running_variance[channel]);
  }
}

// The statistics of a batch norm's input.
template <class T> __global__ void moments(const T *values, long long rows, int channels, Sums room, BatchNorm norm) {
  const Share share(channels);
  float sums[16] = {};
  if (!share.is_idle) {
    float origin[8];
    read(values + share.channel, origin);
#pragma unroll 4
    for (long long row = share.first; row < rows; row += share.step) {
      float value[8];
      read(values + row * channels + share.channel, value);
#pragma unroll
      for (int index = 0; index < 8; index++) {
        const float moved = value[index] - origin[index];
        sums[index] += moved;
        sums[8 + index] += moved * moved;
      }
    }
  }
  add_lanes(share, sums, channels, room.parts);
  double all[2];
  int channel;
  if (add_parts(room, channels, all, channel)) {
    const float2 pair = read_pair(values + channel / 2 * 2);
    finish(norm, all, channel % 2 ? pair.y : pair.x, channel, channels);
  }
}

// What is no number stays none.
__device__ inline float bounded(float value, float least, float most) {
  return value < least ? least : value > most ? most : value;
}

// What an activation gives of factor * value + offset, with `added` on top where there is any.
template <class T>
__global__ void affine(
    const T *values, const float *factors, const float *offsets, float least, float most, const T *added,
    long long rows, int channels, T *output) {
  const Share share(channels);
  if (share.is_idle) {
    return;
  }
  float factor[8], offset[8];
#pragma unroll
  for (int index = 0; index < 8; index++) {
    factor[index] = factors ? factors[share.channel + index] : 1.0f;
    offset[index] = offsets ? offsets[share.channel + index] : 0.0f;
  }
#pragma unroll 4
  for (long long row = share.first; row < rows; row += share.step) {
    const long long place = row * channels + share.channel;
    float value[8], more[8] = {};
    read(values + place, value);
    if (added) {
      read(added + place, more);
    }
#pragma unroll
    for (int index = 0; index < 8; index++) {
      value[index] = bounded(value[index] * factor[index] + offset[index], least, most) + more[index];
    }
    write(value, output + place);
  }
}

// What passes an activation of a gradient.
__device__ inline float passed(float gradient, float value, float factor, float offset, float least, float most) {
  const float before = value * factor + offset;
  return before <= least || before >= most ? 0.0f : gradient;
}

// What a batch norm's backward pass multiplies its input by and adds, of shape (2, channels), and the
// gradients of scale and shift, of the same shape; null where they are not wanted.
template <class T>
__global__ void gradient_moments(
    const T *gradients, const T *values, const float *normal, float least, float most, long long rows, int channels,
    Sums room, float *slopes, float *of_own) {
  const Share share(channels);
  float sums[16] = {};
  if (!share.is_idle) {
    float factor[8], offset[8], mean[8];
    read(normal + share.channel, factor);
    read(normal + channels + share.channel, offset);
    read(normal + 2 * channels + share.channel, mean);
#pragma unroll 4
    for (long long row = share.first; row < rows; row += share.step) {
      const long long place = row * channels + share.channel;
      float gradient[8], value[8];
      read(gradients + place, gradient);
      read(values + place, value);
#pragma unroll
      for (int index = 0; index < 8; index++) {
        const float here = passed(gradient[index], value[index], factor[index], offset[index], least, most);
        sums[index] += here;
        sums[8 + index] += here * (value[index] - mean[index]);
      }
    }
  }
  add_lanes(share, sums, channels, room.parts);
  double all[2];
  int channel;
  if (add_parts(room, channels, all, channel)) {
    const double factor = normal[channel], mean = normal[2 * channels + channel];
    const double inverse = normal[3 * channels + channel], product = all[1] * inverse;
    const double slope = -factor * inverse * product / rows;
    slopes[channel] = slope;
    slopes[channels + channel] = -factor * all[0] / rows - slope * mean;
    if (of_own) {
      of_own[channel] = product;
      of_own[channels + channel] = all[0];
    }
  }
}

// The gradient of what a batch norm reads.
template <class T>
__global__ void gradient_affine(
    const T *gradients, const T *values, const float *normal, const float *slopes, float least, float most,
    long long rows, int channels, T *output) {
  const Share share(channels);
  if (share.is_idle) {
    return;
  }
  float factor[8], offset[8], slope[8], level[8];
  read(normal + share.channel, factor);
  read(normal + channels + share.channel, offset);
  read(slopes + share.channel, slope);
  read(slopes + channels + share.channel, level);
#pragma unroll 4
  for (long long row = share.first; row < rows; row += share.step) {
    const long long place = row * channels + share.channel;
    float gradient[8], value[8];
    read(gradients + place, gradient);
    read(values + place, value);
#pragma unroll
    for (int index = 0; index < 8; index++) {
      const float here = passed(gradient[index], value[index], factor[index], offset[index], least, most);
      value[index] = factor[index] * here + slope[index] * value[index] + level[index];
    }
    write(value, output + place);
  }
}

// Images that a depthwise convolution reads and writes, with a kernel of KERNEL x KERNEL and a padding of
// KERNEL / 2.
struct Shape {
  int images, channels, height, width, out_height, out_width;
};

// A warp's work: two channels a thread, some columns of an image.
struct Strip {
  int channel, lane, warp, warps;
  bool is_idle;

  __device__ Strip(int channels) {
    lane = threadIdx.x % 32;
    warp = threadIdx.x / 32;
    warps = blockDim.x / 32;
    channel = 64 * blockIdx.x + 2 * lane;
    is_idle = channel >= channels;
  }
};

__device__ inline float2 zero_pair() { return make_float2(0.0f, 0.0f); }

__device__ inline void multiply_add(float2 one, float2 other, float2 &to) {
  to.x += one.x * other.x;
  to.y += one.y * other.y;
}

// Weights of 64 channels, of shape (channels, 1, KERNEL, KERNEL) in memory, into (KERNEL * KERNEL, 32) pairs.
template <int KERNEL> __device__ inline void load_weights(const float *weights, int channels, bool turned, float2 *to) {
  constexpr int TAPS = KERNEL * KERNEL;
  for (int index = threadIdx.x; index < TAPS * 64; index += blockDim.x) {
    const int within = index / TAPS, tap = index % TAPS, channel = 64 * blockIdx.x + within;
    const float value = channel < channels ? weights[channel * TAPS + (turned ? TAPS - 1 - tap : tap)] : 0.0f;
    float2 &pair = to[tap * 32 + within / 2];
    (within % 2 ? pair.y : pair.x) = value;
  }
  __syncthreads();
}

__device__ inline float2 activated(float2 value, float2 bias, float least, float most) {
  return make_float2(bounded(value.x + bias.x, least, most), bounded(value.y + bias.y, least, most));
}

// From the warps' sums of results and of their squares, the statistics of the batch norm that reads them.
__device__ inline void finish(
    const Strip &strip, float2 sum, float2 square, int channels, const Sums &sums, const BatchNorm &norm) {
  __shared__ float2 room[4][2][32];
  room[strip.warp][0][strip.lane] = sum;
  room[strip.warp][1][strip.lane] = square;
  __syncthreads();
  if (strip.warp < 2 && !strip.is_idle) {
    float2 all = zero_pair();
    for (int warp = 0; warp < strip.warps; warp++) {
      const float2 part = room[warp][strip.warp][strip.lane];
      all.x += part.x, all.y += part.y;
    }
    *reinterpret_cast<float2 *>(sums.parts + (2ll * blockIdx.y + strip.warp) * channels + strip.channel) = all;
  }
  double all[2];
  int channel;
  if (add_parts(sums, channels, all, channel)) {
    finish(norm, all, 0.0, channel, channels);
  }
}

// Pairs of a row of an image, from a column on. All are fetched before the first is looked at, so that they are
// on their way together; beside the image its edge is fetched, and what is read is zero.
template <class T, int COUNT> struct Row {
  Pair<T> pairs[COUNT];

  __device__ void fetch(const T *image, int row, int height, int first, int width, int channels) {
    const T *const from = image + (long long)min(max(row, 0), height - 1) * width * channels;
#pragma unroll
    for (int index = 0; index < COUNT; index++) {
      const int column = min(max(first + index, 0), width - 1);
      pairs[index] = *reinterpret_cast<const Pair<T> *>(from + column * channels);
    }
  }

  __device__ void read(int row, int height, int first, int width, float2 (&values)[COUNT]) const {
    const bool is_inside = row >= 0 && row < height;
#pragma unroll
    for (int index = 0; index < COUNT; index++) {
      const float2 value = unpacked(pairs[index]);
      const bool is_read = is_inside && first + index >= 0 && first + index < width;
      values[index] = make_float2(is_read ? value.x : 0.0f, is_read ? value.y : 0.0f);
    }
  }
};

template <class T, int COUNT>
__device__ inline void read_row(
    const T *image, int row, int height, int first, int width, int channels, float2 (&values)[COUNT]) {
  Row<T, COUNT> here;
  here.fetch(image, row, height, first, width, channels);
  here.read(row, height, first, width, values);
}

// A depthwise convolution of stride 1, for the gradient of one with the weights `turned` about; with a bias
// and an activation, or with the statistics of a batch norm, whose `normal` is null where none follows.
// A thread goes down `rows` rows of COLUMNS columns and has KERNEL rows of results in its hands.
template <class T, int KERNEL, int COLUMNS>
__global__ void depthwise(
    const T *input, const float *weights, int turned, const float *biases, float least, float most, Shape shape,
    int rows, T *output, Sums sums, BatchNorm norm) {
  constexpr int PADDING = KERNEL / 2;
  __shared__ float2 taps[KERNEL * KERNEL * 32];
  load_weights<KERNEL>(weights, shape.channels, turned, taps);
  const Strip strip(shape.channels);
  const int across = (shape.width + COLUMNS - 1) / COLUMNS, down = (shape.height + rows - 1) / rows;
  float2 sum = zero_pair(), square = zero_pair();
  if (!strip.is_idle) {
    const float2 bias = biases ? read_pair(biases + strip.channel) : zero_pair();
    for (int number = blockIdx.y * strip.warps + strip.warp; number < shape.images * across * down;
         number += gridDim.y * strip.warps) {
      const int left = number % across * COLUMNS, top = number / across % down * rows, image = number / (across * down);
      const int bottom = min(top + rows, shape.height);
      const long long place = (long long)image * shape.height * shape.width * shape.channels + strip.channel;
      float2 results[KERNEL][COLUMNS];
#pragma unroll
      for (int row = 0; row < KERNEL; row++) {
#pragma unroll
        for (int column = 0; column < COLUMNS; column++) {
          results[row][column] = zero_pair();
        }
      }
      Row<T, COLUMNS + KERNEL - 1> next;
      next.fetch(input + place, top - PADDING, shape.height, left - PADDING, shape.width, shape.channels);
      for (int row = top - PADDING; row < bottom + PADDING; row++) {
        float2 values[COLUMNS + KERNEL - 1];
        next.read(row, shape.height, left - PADDING, shape.width, values);
        // While it is on its way the row in hand is multiplied.
        next.fetch(input + place, row + 1, shape.height, left - PADDING, shape.width, shape.channels);
        if (row >= 0 && row < shape.height) {
          // Results in hand are of the rows from `row - PADDING` to `row + PADDING`.
#pragma unroll
          for (int tap = 0; tap < KERNEL * KERNEL; tap++) {
            const float2 weight = taps[tap * 32 + strip.lane];
#pragma unroll
            for (int column = 0; column < COLUMNS; column++) {
              multiply_add(values[column + tap % KERNEL], weight, results[KERNEL - 1 - tap / KERNEL][column]);
            }
          }
        }
        const int finished = row - PADDING;
        if (finished >= top) {
#pragma unroll
          for (int column = 0; column < COLUMNS; column++) {
            if (left + column < shape.width) {
              const float2 wanted = activated(results[0][column], bias, least, most);
              const float2 result = write_pair(
                  wanted, output + place + ((long long)finished * shape.width + left + column) * shape.channels);
              sum.x += result.x, sum.y += result.y;
              multiply_add(result, result, square);
            }
          }
        }
#pragma unroll
        for (int row = 0; row + 1 < KERNEL; row++) {
#pragma unroll
          for (int column = 0; column < COLUMNS; column++) {
            results[row][column] = results[row + 1][column];
          }
        }
#pragma unroll
        for (int column = 0; column < COLUMNS; column++) {
          results[KERNEL - 1][column] = zero_pair();
        }
      }
    }
  }
  if (norm.normal) {
    finish(strip, sum, square, shape.channels, sums, norm);
  }
}

// The same of stride 2, a row of results at a time.
template <class T, int KERNEL, int COLUMNS>
__global__ void depthwise_halving(
    const T *input, const float *weights, const float *biases, float least, float most, Shape shape, T *output,
    Sums sums, BatchNorm norm) {
  constexpr int PADDING = KERNEL / 2;
  __shared__ float2 taps[KERNEL * KERNEL * 32];
  load_weights<KERNEL>(weights, shape.channels, false, taps);
  const Strip strip(shape.channels);
  const int across = (shape.out_width + COLUMNS - 1) / COLUMNS;
  float2 sum = zero_pair(), square = zero_pair();
  if (!strip.is_idle) {
    const float2 bias = biases ? read_pair(biases + strip.channel) : zero_pair();
    for (int number = blockIdx.y * strip.warps + strip.warp; number < shape.images * across * shape.out_height;
         number += gridDim.y * strip.warps) {
      const int left = number % across * COLUMNS, out_row = number / across % shape.out_height;
      const int image = number / (across * shape.out_height);
      const T *from = input + (long long)image * shape.height * shape.width * shape.channels + strip.channel;
      T *to =
          output + ((long long)image * shape.out_height + out_row) * shape.out_width * shape.channels + strip.channel;
      float2 results[COLUMNS];
#pragma unroll
      for (int column = 0; column < COLUMNS; column++) {
        results[column] = zero_pair();
      }
#pragma unroll
      for (int down = 0; down < KERNEL; down++) {
        const int row = 2 * out_row + down - PADDING;
        if (row < 0 || row >= shape.height) {
          continue;
        }
        float2 values[2 * COLUMNS + KERNEL - 2];
        read_row(from, row, shape.height, 2 * left - PADDING, shape.width, shape.channels, values);
#pragma unroll
        for (int right = 0; right < KERNEL; right++) {
          const float2 weight = taps[(down * KERNEL + right) * 32 + strip.lane];
#pragma unroll
          for (int column = 0; column < COLUMNS; column++) {
            multiply_add(values[2 * column + right], weight, results[column]);
          }
        }
      }
#pragma unroll
      for (int column = 0; column < COLUMNS; column++) {
        if (left + column < shape.out_width) {
          const float2 wanted = activated(results[column], bias, least, most);
          const float2 result = write_pair(wanted, to + (long long)(left + column) * shape.channels);
          sum.x += result.x, sum.y += result.y;
          multiply_add(result, result, square);
        }
      }
    }
  }
  if (norm.normal) {
    finish(strip, sum, square, shape.channels, sums, norm);
  }
}

// The gradient of what a depthwise convolution of stride 2 reads; COLUMNS is even.
template <class T, int KERNEL, int COLUMNS>
__global__ void depthwise_doubling(const T *gradients, const float *weights, Shape shape, T *output) {
  constexpr int PADDING = KERNEL / 2, LEAST = -(PADDING / 2), MOST = (COLUMNS - 1 + PADDING) / 2;
  __shared__ float2 taps[KERNEL * KERNEL * 32];
  load_weights<KERNEL>(weights, shape.channels, false, taps);
  const Strip strip(shape.channels);
  const int across = (shape.width + COLUMNS - 1) / COLUMNS;
  if (strip.is_idle) {
    return;
  }
  for (int number = blockIdx.y * strip.warps + strip.warp; number < shape.images * across * shape.height;
       number += gridDim.y * strip.warps) {
    const int left = number % across * COLUMNS, row = number / across % shape.height;
    const int image = number / (across * shape.height);
    const T *from = gradients + (long long)image * shape.out_height * shape.out_width * shape.channels + strip.channel;
    T *to = output + ((long long)image * shape.height + row) * shape.width * shape.channels + strip.channel;
    float2 results[COLUMNS];
#pragma unroll
    for (int column = 0; column < COLUMNS; column++) {
      results[column] = zero_pair();
    }
#pragma unroll
    for (int down = 0; down < KERNEL; down++) {
      const int twice = row + PADDING - down;
      if (twice < 0 || twice % 2 || twice / 2 >= shape.out_height) {
        continue;
      }
      float2 values[MOST - LEAST + 1];
      read_row(from, twice / 2, shape.out_height, left / 2 + LEAST, shape.out_width, shape.channels, values);
#pragma unroll
      for (int right = 0; right < KERNEL; right++) {
        const float2 weight = taps[(down * KERNEL + right) * 32 + strip.lane];
#pragma unroll
        for (int column = 0; column < COLUMNS; column++) {
          // Odd numbers below zero have an odd remainder too.
          if ((column + PADDING - right) % 2 == 0) {
            multiply_add(values[(column + PADDING - right) / 2 - LEAST], weight, results[column]);
          }
        }
      }
    }
#pragma unroll
    for (int column = 0; column < COLUMNS; column++) {
      if (left + column < shape.width) {
        write_pair(results[column], to + (long long)(left + column) * shape.channels);
      }
    }
  }
}

// Parts of the gradient of a depthwise weight of stride 1, of shape (KERNEL * KERNEL, channels), one for each
// warp. A thread goes down the rows of the input and has KERNEL rows of gradients in its hands.
template <class T, int KERNEL, int COLUMNS>
__global__ void depthwise_weight(const T *input, const T *gradients, Shape shape, int rows, float *parts) {
  constexpr int PADDING = KERNEL / 2;
  const Strip strip(shape.channels);
  if (strip.is_idle) {
    return;
  }
  const int across = (shape.width + COLUMNS - 1) / COLUMNS, down = (shape.height + rows - 1) / rows;
  float2 sums[KERNEL * KERNEL];
#pragma unroll
  for (int tap = 0; tap < KERNEL * KERNEL; tap++) {
    sums[tap] = zero_pair();
  }
  const int worker = blockIdx.y * strip.warps + strip.warp, workers = gridDim.y * strip.warps;
  for (int number = worker; number < shape.images * across * down; number += workers) {
    const int left = number % across * COLUMNS, top = number / across % down * rows, image = number / (across * down);
    const int bottom = min(top + rows, shape.height);
    const long long place = (long long)image * shape.height * shape.width * shape.channels + strip.channel;
    // Of the rows from `row - PADDING` to `row + PADDING`, as far as they are this strip's.
    float2 here[KERNEL][COLUMNS];
#pragma unroll
    for (int index = 0; index < KERNEL * COLUMNS; index++) {
      here[index / COLUMNS][index % COLUMNS] = zero_pair();
    }
    Row<T, COLUMNS> next_here;
    Row<T, COLUMNS + KERNEL - 1> next;
    const auto fetch = [&](int row) {
      next_here.fetch(gradients + place, row + PADDING, bottom, left, shape.width, shape.channels);
      next.fetch(input + place, row, shape.height, left - PADDING, shape.width, shape.channels);
    };
    fetch(top - PADDING);
    for (int row = top - PADDING; row < bottom + PADDING; row++) {
#pragma unroll
      for (int index = 0; index < (KERNEL - 1) * COLUMNS; index++) {
        here[index / COLUMNS][index % COLUMNS] = here[index / COLUMNS + 1][index % COLUMNS];
      }
      float2 values[COLUMNS + KERNEL - 1];
      next_here.read(row + PADDING, bottom, left, shape.width, here[KERNEL - 1]);
      next.read(row, shape.height, left - PADDING, shape.width, values);
      // While they are on their way those in hand are multiplied.
      fetch(row + 1);
      if (row >= 0 && row < shape.height) {
#pragma unroll
        for (int tap = 0; tap < KERNEL * KERNEL; tap++) {
#pragma unroll
          for (int column = 0; column < COLUMNS; column++) {
            multiply_add(values[column + tap % KERNEL], here[KERNEL - 1 - tap / KERNEL][column], sums[tap]);
          }
        }
      }
    }
  }
#pragma unroll
  for (int tap = 0; tap < KERNEL * KERNEL; tap++) {
    float *to = parts + ((long long)worker * KERNEL * KERNEL + tap) * shape.channels + strip.channel;
    *reinterpret_cast<float2 *>(to) = sums[tap];
  }
}

// The same of stride 2, one part for each block, of which each warp takes a row of the kernel.
template <class T, int KERNEL, int COLUMNS>
__global__ void depthwise_weight_halving(const T *input, const T *gradients, Shape shape, float *parts) {
  constexpr int PADDING = KERNEL / 2;
  const Strip strip(shape.channels);
  if (strip.is_idle) {
    return;
  }
  const int across = (shape.out_width + COLUMNS - 1) / COLUMNS;
  float2 sums[KERNEL];
#pragma unroll
  for (int right = 0; right < KERNEL; right++) {
    sums[right] = zero_pair();
  }
  for (int number = blockIdx.y; number < shape.images * across; number += gridDim.y) {
    const int left = number % across * COLUMNS, image = number / across;
    const T *from = input + (long long)image * shape.height * shape.width * shape.channels + strip.channel;
    const T *given = gradients + (long long)image * shape.out_height * shape.out_width * shape.channels + strip.channel;
    for (int out_row = 0; out_row < shape.out_height; out_row++) {
      const int row = 2 * out_row + strip.warp - PADDING;
      if (row < 0 || row >= shape.height) {
        continue;
      }
      float2 values[2 * COLUMNS + KERNEL - 2], here[COLUMNS];
      read_row(from, row, shape.height, 2 * left - PADDING, shape.width, shape.channels, values);
      read_row(given, out_row, shape.out_height, left, shape.out_width, shape.channels, here);
#pragma unroll
      for (int column = 0; column < COLUMNS; column++) {
#pragma unroll
        for (int right = 0; right < KERNEL; right++) {
          multiply_add(here[column], values[2 * column + right], sums[right]);
        }
      }
    }
  }
#pragma unroll
  for (int right = 0; right < KERNEL; right++) {
    const long long tap = strip.warp * KERNEL + right;
    float *to = parts + ((long long)blockIdx.y * KERNEL * KERNEL + tap) * shape.channels + strip.channel;
    *reinterpret_cast<float2 *>(to) = sums[right];
  }
}

// Adds up parts of shape (taps, channels) into a weight of shape (channels, taps): 32 numbers a block, of which
// each warp takes some parts.
__global__ void add_weights(const float *parts, int count, int taps, int channels, float *weight) {
  __shared__ float room[8][32];
  const int within = threadIdx.x % 32, warp = threadIdx.x / 32, index = 32 * blockIdx.x + within;
  const bool is_idle = index >= taps * channels;
  float sum = 0.0f;
#pragma unroll 8
  for (int part = warp; part < count && !is_idle; part += 8) {
    sum += parts[(long long)part * taps * channels + index];
  }
  room[warp][within] = sum;
  __syncthreads();
  if (warp > 0 || is_idle) {
    return;
  }
  for (int other = 1; other < 8; other++) {
    sum += room[other][within];
  }
  weight[index % channels * taps + index / channels] = sum;
}
