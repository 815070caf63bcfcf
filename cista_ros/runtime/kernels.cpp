// The operations of a CISTA step between its convolutions, each one pass over memory. kernels.py documents the
// arguments. Feature maps are (rows, columns, channels); a bordered one has one more row and column on each side, which
// reflect the inside. Values are float or bfloat16; sums are float.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

struct bf16 {
    uint16_t bits;
};

inline float load(float v) { return v; }
inline float load(bf16 v) {
    uint32_t wide = uint32_t(v.bits) << 16;
    float out;
    std::memcpy(&out, &wide, 4);
    return out;
}
inline void store(float& out, float v) { out = v; }
inline void store(bf16& out, float v) {  // round to nearest, ties to even
    uint32_t wide;
    std::memcpy(&wide, &v, 4);
    out.bits = uint16_t((wide + 0x7fff + ((wide >> 16) & 1)) >> 16);
}

// 1 / (1 + exp(-v)) to 1e-7, in operations that the compiler can vectorise: exp(x) = 2^n exp(r), |r| <= ln 2 / 2.
inline float sigmoid(float v) {
    float x = std::min(std::max(-v, -87.f), 87.f);
    float n = std::nearbyintf(x * 1.44269504f);
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1 + r * (1 + r * (1 / 2.f + r * (1 / 6.f + r * (1 / 24.f + r * (1 / 120.f + r * (1 / 720.f))))));
    uint32_t exponent = uint32_t(int32_t(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &exponent, 4);
    return 1 / (1 + p * scale);
}
inline float tanh_(float v) { return 2 * sigmoid(2 * v) - 1; }

template <class T>
struct Bordered {
    T* data;             // first pixel of the border
    int64_t row, pixel;  // strides, in values
    int64_t h, w, c;     // of the inside

    T* at(int64_t y, int64_t x) const { return data + (y + 1) * row + (x + 1) * pixel; }

    void copy(int64_t y, int64_t x, int64_t from_y, int64_t from_x) const {
        std::memcpy(at(y, x), at(from_y, from_x), c * sizeof(T));
    }
    // Update the border that reflects row y of the inside, after that row is written.
    void reflect(int64_t y) const {
        copy(y, -1, y, 1);
        copy(y, w, y, w - 2);
        if (y == 1 || y == h - 2)
            for (int64_t x = -1; x <= w; ++x) copy(y == 1 ? -1 : h, x, y, x);
    }
};

template <class From, class T>
void write(const From* source, int64_t source_row, Bordered<T> out, bool rectify) {
#pragma omp parallel for
    for (int64_t y = 0; y < out.h; ++y) {
        for (int64_t x = 0; x < out.w; ++x) {
            const From* from = source + y * source_row + x * out.c;
            T* to = out.at(y, x);
#pragma omp simd
            for (int64_t i = 0; i < out.c; ++i) {
                float v = load(from[i]);
                store(to[i], rectify ? std::max(v, 0.f) : v);
            }
        }
        out.reflect(y);
    }
}

template <class T>
void subtract(const float* from, const T* what, int64_t what_row, Bordered<T> out) {
#pragma omp parallel for
    for (int64_t y = 0; y < out.h; ++y) {
        for (int64_t x = 0; x < out.w; ++x) {
            const float* a = from + (y * out.w + x) * out.c;
            const T* b = what + y * what_row + x * out.c;
            T* to = out.at(y, x);
#pragma omp simd
            for (int64_t i = 0; i < out.c; ++i) store(to[i], a[i] - load(b[i]));
        }
        out.reflect(y);
    }
}

template <class T>
void iterate(const T* update, int64_t update_row, Bordered<T> code, Bordered<T> before, const float* attention_before,
             const float* attention, const float* alpha, const float* theta) {
#pragma omp parallel for
    for (int64_t y = 0; y < code.h; ++y) {
        for (int64_t x = 0; x < code.w; ++x) {
            const int64_t pixel = y * code.w + x;
            const T* u = update + y * update_row + x * code.c;
            const T* b = before.at(y, x);
            T* z = code.at(y, x);
            const float s = attention ? sigmoid(attention_before[pixel] * attention[pixel]) : 0;
#pragma omp simd
            for (int64_t i = 0; i < code.c; ++i) {
                float now = load(z[i]);
                float v = now + load(u[i]);
                if (attention) v += s * alpha[i] * (load(b[i]) - now);
                store(z[i], std::max(v - theta[i], 0.f) - std::max(-v - theta[i], 0.f));
            }
        }
        code.reflect(y);
    }
}

template <class T>
void remember(const T* gates, int64_t gates_row, float* cell, Bordered<T> hidden, float* held) {
    const int64_t c = hidden.c, h = hidden.h, w = hidden.w, held_row = (w + 4) * c;
#pragma omp parallel for
    for (int64_t y = 0; y < h; ++y) {
        for (int64_t x = 0; x < w; ++x) {
            const T* g = gates + y * gates_row + x * 4 * c;
            float* memory = cell + (y * w + x) * c;
            float* shown = held + (y + 2) * held_row + (x + 2) * c;
            T* to = hidden.at(y, x);
#pragma omp simd
            for (int64_t i = 0; i < c; ++i) {
                float v = sigmoid(load(g[c + i])) * memory[i] + sigmoid(load(g[i])) * tanh_(load(g[3 * c + i]));
                memory[i] = v;
                shown[i] = sigmoid(load(g[2 * c + i])) * tanh_(v);
                store(to[i], shown[i]);
            }
        }
        hidden.reflect(y);
        float* first = held + (y + 2) * held_row;
        std::memcpy(first + c, first + 2 * c, c * sizeof(float));
        std::memcpy(first + (w + 2) * c, first + (w + 1) * c, c * sizeof(float));
        if (y == 0) std::memcpy(first - held_row, first, held_row * sizeof(float));
        if (y == h - 1) std::memcpy(first + held_row, first, held_row * sizeof(float));
    }
}

// Sum the contributions (rows, columns, k, k, outputs) of the k x k neighbours of each pixel.
template <class T>
void gather(const T* shares, int64_t shares_row, int64_t k, const float* bias, int64_t outputs, float* out, int64_t h,
            int64_t w) {
    const int64_t pixel = k * k * outputs;
#pragma omp parallel for
    for (int64_t y = 0; y < h; ++y)
        for (int64_t x = 0; x < w; ++x) {
            float* to = out + (y * w + x) * outputs;
            for (int64_t o = 0; o < outputs; ++o) to[o] = bias[o];
            for (int64_t i = 0; i < k; ++i)
                for (int64_t j = 0; j < k; ++j) {
                    const T* from = shares + (y + i) * shares_row + (x + j) * pixel + (i * k + j) * outputs;
                    for (int64_t o = 0; o < outputs; ++o) to[o] += load(from[o]);
                }
        }
}

// Winograd transforms of F(4x4, 3x3), for at most one vector of channels at a time.
constexpr int64_t LANES = 16, TILE = 4, POINTS = 6;

inline void input_points(const float* x, int64_t step, float* y, int64_t out_step, int64_t lanes) {  // y = B' x
#pragma omp simd
    for (int64_t i = 0; i < lanes; ++i) {
        float x0 = x[i], x1 = x[step + i], x2 = x[2 * step + i], x3 = x[3 * step + i], x4 = x[4 * step + i],
              x5 = x[5 * step + i];
        float even = x4 - 4 * x2, odd = x3 - 4 * x1, even2 = x4 - x2, odd2 = 2 * (x3 - x1);
        y[i] = 4 * x0 - 5 * x2 + x4;
        y[out_step + i] = even + odd;
        y[2 * out_step + i] = even - odd;
        y[3 * out_step + i] = even2 + odd2;
        y[4 * out_step + i] = even2 - odd2;
        y[5 * out_step + i] = 4 * x1 - 5 * x3 + x5;
    }
}

inline void output_points(const float* m, int64_t step, float* y, int64_t out_step, int64_t lanes) {  // y = A' m
#pragma omp simd
    for (int64_t i = 0; i < lanes; ++i) {
        float a = m[step + i], b = m[2 * step + i], c = m[3 * step + i], d = m[4 * step + i];
        float even = a + b, odd = a - b, even2 = c + d, odd2 = c - d;
        y[i] = m[i] + even + even2;
        y[out_step + i] = odd + 2 * odd2;
        y[2 * out_step + i] = even + 4 * even2;
        y[3 * out_step + i] = odd + 8 * odd2 + m[5 * step + i];
    }
}

inline __attribute__((always_inline)) void input_tile(const float* from, int64_t row, int64_t channels, float* to,
                                                      int64_t lanes) {
    float rows[POINTS][POINTS][LANES];
    for (int64_t j = 0; j < POINTS; ++j) input_points(from + j * channels, row, rows[0][j], POINTS * LANES, lanes);
    for (int64_t i = 0; i < POINTS; ++i) input_points(rows[i][0], LANES, to + i * POINTS * channels, channels, lanes);
}

inline __attribute__((always_inline)) void output_tile(const float* from, int64_t channels, float* to, int64_t row,
                                                       int64_t lanes) {
    float rows[TILE][POINTS][LANES];
    for (int64_t j = 0; j < POINTS; ++j)
        output_points(from + j * channels, POINTS * channels, rows[0][j], POINTS * LANES, lanes);
    for (int64_t i = 0; i < TILE; ++i) output_points(rows[i][0], LANES, to + i * row, channels, lanes);
}

}  // namespace

extern "C" {

#define KERNELS(T, suffix)                                                                                             \
    void write_##suffix(const T* source, int64_t source_row, const Bordered<T>* out, int64_t rectify) {                \
        write(source, source_row, *out, rectify);                                                                      \
    }                                                                                                                  \
    void write_floats_##suffix(const float* source, int64_t source_row, const Bordered<T>* out) {                      \
        write(source, source_row, *out, false);                                                                        \
    }                                                                                                                  \
    void subtract_##suffix(const float* from, const T* what, int64_t what_row, const Bordered<T>* out) {               \
        subtract(from, what, what_row, *out);                                                                          \
    }                                                                                                                  \
    void iterate_##suffix(const T* update, int64_t update_row, const Bordered<T>* code, const Bordered<T>* before,     \
                          const float* attention_before, const float* attention, const float* alpha,                   \
                          const float* theta) {                                                                        \
        iterate(update, update_row, *code, *before, attention_before, attention, alpha, theta);                        \
    }                                                                                                                  \
    void remember_##suffix(const T* gates, int64_t gates_row, float* cell, const Bordered<T>* hidden, float* held) {   \
        remember(gates, gates_row, cell, *hidden, held);                                                               \
    }                                                                                                                  \
    void gather_##suffix(const T* shares, int64_t shares_row, int64_t k, const float* bias, int64_t outputs,           \
                         float* out, int64_t h, int64_t w) {                                                           \
        gather(shares, shares_row, k, bias, outputs, out, h, w);                                                       \
    }
KERNELS(float, fp32)
KERNELS(bf16, bf16)

// down and across: number of tiles; row: stride of the image, in values.
void winograd_input(const float* padded, int64_t row, int64_t channels, int64_t down, int64_t across, float* points) {
    for (int64_t tile = 0; tile < down * across; ++tile)
        for (int64_t c = 0; c < channels; c += LANES) {
            const float* from = padded + tile / across * TILE * row + tile % across * TILE * channels + c;
            float* to = points + tile * POINTS * POINTS * channels + c;
            // A constant number of lanes lets the compiler unroll the loops.
            if (channels - c >= LANES)
                input_tile(from, row, channels, to, LANES);
            else
                input_tile(from, row, channels, to, channels - c);
        }
}

void winograd_output(const float* points, int64_t channels, int64_t down, int64_t across, float* out, int64_t row) {
    for (int64_t tile = 0; tile < down * across; ++tile)
        for (int64_t c = 0; c < channels; c += LANES) {
            const float* from = points + tile * POINTS * POINTS * channels + c;
            float* to = out + tile / across * TILE * row + tile % across * TILE * channels + c;
            if (channels - c >= LANES)
                output_tile(from, channels, to, row, LANES);
            else
                output_tile(from, channels, to, row, channels - c);
        }
}
}
