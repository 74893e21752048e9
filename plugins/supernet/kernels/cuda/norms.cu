// Batch norms by the batch's statistics, with what follows them.
//
// Sums over rows are written in parts, one for each block, which the last block to end adds up in a fixed
// order, so that the same numbers give the same sums.

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
