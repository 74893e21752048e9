// Depthwise convolutions with square kernels, of stride 1 and 2.

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

// Columns of an image, from one on, where a thread reads pairs. Beside the image it reads its edge, and what it
// reads there is zero.
template <int COUNT> struct Columns {
  int offsets[COUNT];
  unsigned int masks[COUNT];

  __device__ Columns(int first, int width, int channels) {
#pragma unroll
    for (int index = 0; index < COUNT; index++) {
      const int column = min(max(first + index, 0), width - 1);
      offsets[index] = column * channels;
      masks[index] = column == first + index ? ~0u : 0u;
    }
  }
};

// Pairs of a row of an image. All are fetched before the first is looked at, so that they are on their way together;
// above and below the image its edge is fetched.
template <class T, int COUNT> struct Row {
  Pair<T> pairs[COUNT];

  __device__ void fetch(const T *image, int row, int height, int width, int channels, const Columns<COUNT> &columns) {
    const T *const from = image + (long long)min(max(row, 0), height - 1) * width * channels;
#pragma unroll
    for (int index = 0; index < COUNT; index++) {
      pairs[index] = *reinterpret_cast<const Pair<T> *>(from + columns.offsets[index]);
    }
  }

  // Of a row inside the image.
  __device__ void read(const Columns<COUNT> &columns, float2 (&values)[COUNT]) const {
#pragma unroll
    for (int index = 0; index < COUNT; index++) {
      values[index] = unpacked(masked(pairs[index], columns.masks[index]));
    }
  }
};

template <class T, int COUNT>
__device__ inline void read_row(
    const T *image, int row, int height, int first, int width, int channels, float2 (&values)[COUNT]) {
  const Columns<COUNT> columns(first, width, channels);
  Row<T, COUNT> here;
  here.fetch(image, row, height, width, channels, columns);
  here.read(columns, values);
}

// What follows a depthwise convolution of stride 1.
constexpr int NOTHING = 0, STATISTICS = 1, ACTIVATION = 2;

// A depthwise convolution of stride 1, for the gradient of one with the weights `turned` about; FOLLOWING it
// nothing, the statistics of a batch norm, or a bias, if it is not null, and an activation.
// A thread goes down `rows` rows of COLUMNS columns and has KERNEL rows of results in its hands.
template <class T, int KERNEL, int COLUMNS, int FOLLOWING>
__global__ void __launch_bounds__(128, KERNEL == 3 ? 4 : 3) depthwise(
    const T *input, const float *weights, int turned, const float *biases, float least, float most, Shape shape,
    int rows, T *output, Sums sums, BatchNorm norm) {
  constexpr int PADDING = KERNEL / 2;
  __shared__ float2 taps[KERNEL * KERNEL * 32];
  load_weights<KERNEL>(weights, shape.channels, turned, taps);
  const Strip strip(shape.channels);
  const int across = (shape.width + COLUMNS - 1) / COLUMNS, down = (shape.height + rows - 1) / rows;
  float2 sum = zero_pair(), square = zero_pair();
  if (!strip.is_idle) {
    const float2 bias = FOLLOWING == ACTIVATION && biases ? read_pair(biases + strip.channel) : zero_pair();
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
      const Columns<COLUMNS + KERNEL - 1> columns(left - PADDING, shape.width, shape.channels);
      Row<T, COLUMNS + KERNEL - 1> next;
      next.fetch(input + place, top - PADDING, shape.height, shape.width, shape.channels, columns);
      // With two rows at a time, half of the results in hand need not change places.
#pragma unroll 2
      for (int row = top - PADDING; row < bottom + PADDING; row++) {
        float2 values[COLUMNS + KERNEL - 1];
        next.read(columns, values);
        // While it is on its way the row in hand is multiplied.
        next.fetch(input + place, row + 1, shape.height, shape.width, shape.channels, columns);
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
              const float2 sum_of_taps = results[0][column];
              const float2 wanted = FOLLOWING == ACTIVATION ? activated(sum_of_taps, bias, least, most) : sum_of_taps;
              const float2 result = write_pair(
                  wanted, output + place + ((long long)finished * shape.width + left + column) * shape.channels);
              if (FOLLOWING == STATISTICS) {
                sum.x += result.x, sum.y += result.y;
                multiply_add(result, result, square);
              }
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
  if (FOLLOWING == STATISTICS) {
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
    const Columns<COLUMNS> columns_here(left, shape.width, shape.channels);
    const Columns<COLUMNS + KERNEL - 1> columns(left - PADDING, shape.width, shape.channels);
    Row<T, COLUMNS> next_here;
    Row<T, COLUMNS + KERNEL - 1> next;
    const auto fetch = [&](int row) {
      next_here.fetch(gradients + place, row + PADDING, bottom, shape.width, shape.channels, columns_here);
      next.fetch(input + place, row, shape.height, shape.width, shape.channels, columns);
    };
    fetch(top - PADDING);
    // The largest kernel has no registers left for a second row.
#pragma unroll(KERNEL == 7 ? 1 : 2)
    for (int row = top - PADDING; row < bottom + PADDING; row++) {
#pragma unroll
      for (int index = 0; index < (KERNEL - 1) * COLUMNS; index++) {
        here[index / COLUMNS][index % COLUMNS] = here[index / COLUMNS + 1][index % COLUMNS];
      }
      float2 values[COLUMNS + KERNEL - 1];
      next_here.read(columns_here, here[KERNEL - 1]);
      if (row + PADDING >= bottom) {
#pragma unroll
        for (int column = 0; column < COLUMNS; column++) {
          here[KERNEL - 1][column] = zero_pair();
        }
      }
      next.read(columns, values);
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
