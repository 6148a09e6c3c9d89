/* Fused fp32 kernels of a training step on one thread; `native.py` compiles, checks and calls them.

   Every sum is taken in an order that sizes alone decide, so that a step repeats bit for bit. No
   -ffast-math: it would let a diverged loss pass for a number, and set the whole process to flush
   subnormals. What must be wide is written in vectors, which gcc and clang map to any processor.

   Letters: M rows, W width, B sequences, T positions, H heads, G key/value heads, K head width,
   Q = (H + 2 G) K, F feed-forward width, V vocabulary. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define L 16 /* lanes */
#elif defined(__AVX__)
#define L 8
#else
#define L 4
#endif
#define INLINE static inline __attribute__((always_inline))
#define ROUND_UP(n) (((n) + L - 1) / L * L)

typedef float V __attribute__((vector_size(4 * L)));
typedef int32_t I __attribute__((vector_size(4 * L)));
typedef float U __attribute__((vector_size(4 * L), aligned(4), may_alias)); /* anywhere */

INLINE V load(const float *p) { return *(const U *)p; }
INLINE void store(float *p, V x) { *(U *)p = x; }
INLINE V all(float x) { return x - (V){0}; }
INLINE V pick(I yes, V a, V b) { return (V)((yes & (I)a) | (~yes & (I)b)); }
INLINE V larger(V a, V b) { return pick(b > a, b, a); }

/* The first n < L lanes; the others hold `rest`. */
INLINE V load_part(const float *p, int n, float rest) {
    V x = all(rest);
    memcpy(&x, p, 4 * n);
    return x;
}
INLINE void store_part(float *p, V x, int n) { memcpy(p, &x, 4 * n); }

INLINE float sum(V x) {
    float total = 0;
    for (int l = 0; l < L; l++) total += x[l];
    return total;
}
INLINE float maximum(V x) {
    float most = x[0];
    for (int l = 1; l < L; l++) most = x[l] > most ? x[l] : most;
    return most;
}

/* e^x to a relative 1e-7, x held within -87.3 and 88: 2^n e^f with |f| <= ln(2)/2, the polynomial
   that of Cephes' expf. NaN stays NaN. */
INLINE V exponential(V x) {
    x = pick(x < -87.3f, all(-87.3f), x);
    x = pick(x > 88.0f, all(88.0f), x);
    I biased = __builtin_convertvector(x * 1.44269504f + 127.5f, I); /* positive: rounds down */
    V n = __builtin_convertvector(biased - 127, V);
    V f = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    V p = all(1.9875691500e-4f);
    p = p * f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    return (p * f * f + f + 1.0f) * (V)(biased << 23);
}

void exponentials(int64_t n, const float *x, float *y) {
    int64_t i = 0;
    for (; i + L <= n; i += L) store(y + i, exponential(load(x + i)));
    if (i < n) store_part(y + i, exponential(load_part(x + i, n - i, 0)), n - i);
}

/* ------------------------------------------------------------------ products */

#define TILE 6      /* rows of C that stay in registers, */
#define PANEL (2 * L) /* and columns */
#define DEPTH 256   /* of a panel of B: 2 L DEPTH numbers stay in the first cache */

static float *scratch(size_t n) { return aligned_alloc(64, (n * 4 + 63) / 64 * 64); }

/* C (R, wide L) = `from` (nothing, or as C lies) + A B; A's element (r, k) is a[r am + k ak]. */
INLINE void tile(int R, int wide, int K, const float *a, long am, long ak, const float *b, long ldb,
                 const float *from, float *c, long ldc) {
    V s[TILE][2];
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int w = 0; w < wide; w++) s[r][w] = from ? load(from + r * ldc + w * L) : all(0);
    for (int k = 0; k < K; k++) {
        V b0 = load(b + k * ldb), b1 = wide > 1 ? load(b + k * ldb + L) : b0;
#pragma GCC unroll 6
        for (int r = 0; r < R; r++) {
            float x = a[r * am + k * ak];
            s[r][0] += x * b0;
            if (wide > 1) s[r][1] += x * b1;
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int w = 0; w < wide; w++) store(c + r * ldc + w * L, s[r][w]);
}

/* All rows of a panel of C; consecutive tiles of A lie `next` apart. */
INLINE void column(int wide, int M, int K, const float *a, long am, long ak, long next,
                   const float *b, long ldb, const float *from, float *c, long ldc) {
    for (; M >= TILE; M -= TILE, a += next, c += TILE * ldc) {
        tile(TILE, wide, K, a, am, ak, b, ldb, from, c, ldc);
        if (from) from += TILE * ldc;
    }
    switch (M) {
    case 5: tile(5, wide, K, a, am, ak, b, ldb, from, c, ldc); break;
    case 4: tile(4, wide, K, a, am, ak, b, ldb, from, c, ldc); break;
    case 3: tile(3, wide, K, a, am, ak, b, ldb, from, c, ldc); break;
    case 2: tile(2, wide, K, a, am, ak, b, ldb, from, c, ldc); break;
    case 1: tile(1, wide, K, a, am, ak, b, ldb, from, c, ldc); break;
    }
}

/* C (M, N) = A (M, K) B (K, N), or added to C, for B that fits the cache; N a multiple of L. */
static void multiply(int M, int N, int K, const float *a, long am, long ak, const float *b,
                     long ldb, float *c, long ldc, int add) {
    int n = 0;
    for (; n + PANEL <= N; n += PANEL)
        column(2, M, K, a, am, ak, TILE * am, b + n, ldb, add ? c + n : 0, c + n, ldc);
    if (n < N) column(1, M, K, a, am, ak, TILE * am, b + n, ldb, add ? c + n : 0, c + n, ldc);
}

static size_t packed_size(int K, int N) { return (size_t)K * ((N + PANEL - 1) / PANEL * PANEL); }

/* B (K, N), its element (k, n) b[k bk + n bn], by panels of DEPTH rows, filled up with zeros. */
static void pack(int K, int N, const float *b, long bk, long bn, float *to) {
    for (int first = 0; first < K; first += DEPTH)
        for (int n = 0; n < N; n += PANEL) {
            int depth = K - first < DEPTH ? K - first : DEPTH, part = N - n < PANEL ? N - n : PANEL;
            const float *from = b + first * bk + n * bn;
            if (part < PANEL) memset(to, 0, 4 * (size_t)depth * PANEL);
            if (bn == 1 && part == PANEL)
                for (int k = 0; k < depth; k++) {
                    store(to + k * PANEL, load(from + k * bk));
                    store(to + k * PANEL + L, load(from + k * bk + L));
                }
            else if (bn == 1)
                for (int k = 0; k < depth; k++) memcpy(to + k * PANEL, from + k * bk, 4 * part);
            else
                for (int c = 0; c < part; c++)
                    for (int k = 0; k < depth; k++) to[k * PANEL + c] = from[k * bk + c * bn];
            to += (size_t)depth * PANEL;
        }
}

/* C (M, N) = `from` (nothing, or as C lies) + A B, B packed. A whose columns lie side by side
   (am = 1) is copied by tiles into `room`, TILE + M times DEPTH numbers, first. */
static void multiply_packed(int M, int N, int K, const float *a, long am, long ak, const float *b,
                            const float *from, float *c, float *room) {
    float edge[TILE * PANEL];
    for (int first = 0; first < K; first += DEPTH, a += DEPTH * ak) {
        int depth = K - first < DEPTH ? K - first : DEPTH;
        const float *tiles = a, *initial = first ? c : from;
        long row = am, step = ak, next = TILE * am;
        if (am == 1 && ak != 1) {
            for (int m = 0; m < M; m += TILE) {
                float *to = room + (size_t)m * depth;
                if (m + TILE <= M)
                    for (int k = 0; k < depth; k++) memcpy(to + k * TILE, a + m + k * ak, 4 * TILE);
                else
                    for (int k = 0; k < depth; k++)
                        memcpy(to + k * TILE, a + m + k * ak, 4 * (M - m));
            }
            tiles = room, row = 1, step = TILE, next = (long)TILE * depth;
        }
        for (int n = 0; n < N; n += PANEL, b += (size_t)depth * PANEL) {
            const float *at = initial ? initial + n : 0;
            if (n + PANEL <= N)
                column(2, M, depth, tiles, row, step, next, b, PANEL, at, c + n, N);
            else if (n + L == N)
                column(1, M, depth, tiles, row, step, next, b, PANEL, at, c + n, N);
            else
                for (int m = 0; m < M; m += TILE) {
                    int rows = M - m < TILE ? M - m : TILE, part = N - n;
                    for (int r = 0; at && r < rows; r++)
                        memcpy(edge + r * PANEL, at + (m + r) * (long)N, 4 * part);
                    column(2, rows, depth, tiles + m / TILE * next, row, step, next, b, PANEL,
                           at ? edge : 0, edge, PANEL);
                    for (int r = 0; r < rows; r++)
                        memcpy(c + (m + r) * (long)N + n, edge + r * PANEL, 4 * part);
                }
        }
    }
}

/* ------------------------------------------------------------------ attention */

#define ROWS 16 /* queries at a time */

/* Turn a head by its position's angles, which lie in one row: pairs (k, k + K/2). */
INLINE void turn(int K, const float *x, const float *cos, const float *sin, float scale, float *y) {
    int half = K / 2; /* sin is negated in the first half */
    for (int k = 0; k < half; k++) {
        float a = x[k], b = x[k + half], c = cos[k] * scale, s = sin[k + half] * scale;
        y[k] = a * c - b * s;
        y[k + half] = b * c + a * s;
    }
}
INLINE void turn_back(int K, const float *x, const float *cos, const float *sin, float scale,
                      float *y) {
    int half = K / 2;
    for (int k = 0; k < half; k++) {
        float a = x[k], b = x[k + half], c = cos[k] * scale, s = sin[k + half] * scale;
        y[k] = a * c + b * s;
        y[k + half] = b * c - a * s;
    }
}

/* Columns of a (T, K) matrix of row length `ld` as rows of length Tp, the rest of them zero. */
static void transpose(int T, int K, int Tp, const float *x, long ld, float *y) {
    for (int k = 0; k < K; k++) {
        for (int t = 0; t < T; t++) y[k * Tp + t] = x[t * ld + k];
        for (int t = T; t < Tp; t++) y[k * Tp + t] = 0;
    }
}

typedef struct {
    int B, T, W, H, G, K, F, causal, gated;
    float eps;
} Sizes;

/* qkv (B, T, (H + 2 G) K), each head's numbers side by side, to mixed (B, T, H K) and the logarithm
   of the sum of every query's exponentials (B, H, T). Returns 0, or 1 without memory. */
int attention(const Sizes *sizes, const float *qkv, const float *cos, const float *sin,
              float *mixed, float *log_sums) {
    const int B = sizes->B, T = sizes->T, H = sizes->H, G = sizes->G, K = sizes->K;
    const int Kp = ROUND_UP(K), Tp = ROUND_UP(T), ld = (H + 2 * G) * K, group = H / G;
    const float scale = 1 / sqrtf(K);
    float *k = scratch(2 * (size_t)T * Kp + (size_t)(K + ROWS) * Tp + 2 * ROWS * Kp);
    if (!k) return 1;
    float *v = k + (size_t)T * Kp, *kt = v + (size_t)T * Kp, *s = kt + (size_t)K * Tp;
    float *q = s + (size_t)ROWS * Tp, *o = q + ROWS * Kp;
    memset(v, 0, 4 * (size_t)T * Kp);
    for (int b = 0; b < B; b++)
        for (int g = 0; g < G; g++) {
            const float *x = qkv + (size_t)b * T * ld;
            for (int t = 0; t < T; t++) {
                turn(K, x + (size_t)t * ld + (H + g) * K, cos + t * K, sin + t * K, 1, k + t * Kp);
                memcpy(v + t * Kp, x + (size_t)t * ld + (H + G + g) * K, 4 * K);
            }
            transpose(T, K, Tp, k, Kp, kt);
            for (int h = g * group; h < (g + 1) * group; h++)
                for (int first = 0; first < T; first += ROWS) {
                    int n = T - first < ROWS ? T - first : ROWS;
                    int J = sizes->causal ? first + n : T, Jp = ROUND_UP(J);
                    for (int i = 0; i < n; i++) {
                        int t = first + i;
                        turn(K, x + (size_t)t * ld + h * K, cos + t * K, sin + t * K, scale,
                             q + i * Kp);
                    }
                    multiply(n, Jp, K, q, Kp, 1, kt, Tp, s, Tp, 0);
                    float sums[ROWS];
                    for (int i = 0; i < n; i++) {
                        int seen = sizes->causal ? first + i + 1 : T, end = ROUND_UP(seen);
                        float *row = s + (size_t)i * Tp;
                        for (int j = seen; j < end; j++) row[j] = row[0];
                        V most = load(row), total = all(0);
                        for (int j = L; j < end; j += L) most = larger(most, load(row + j));
                        float top = maximum(most);
                        for (int j = 0; j < end; j += L)
                            store(row + j, exponential(load(row + j) - top));
                        for (int j = seen; j < Jp; j++) row[j] = 0;
                        for (int j = 0; j < end; j += L) total += load(row + j);
                        sums[i] = sum(total);
                        log_sums[((size_t)b * H + h) * T + first + i] = top + logf(sums[i]);
                    }
                    multiply(n, Kp, J, s, Tp, 1, v, Kp, o, Kp, 0);
                    for (int i = 0; i < n; i++) {
                        float *to = mixed + (((size_t)b * T + first + i) * H + h) * K;
                        float share = 1 / sums[i];
                        for (int c = 0; c < K; c++) to[c] = o[i * Kp + c] * share;
                    }
                }
        }
    free(k);
    return 0;
}

/* The gradient of qkv from that of mixed; weights are computed again. */
static int attention_back(const Sizes *sizes, const float *qkv, const float *cos, const float *sin,
                   const float *log_sums, const float *grad, float *grad_qkv) {
    const int B = sizes->B, T = sizes->T, H = sizes->H, G = sizes->G, K = sizes->K;
    const int Kp = ROUND_UP(K), Tp = ROUND_UP(T), ld = (H + 2 * G) * K, group = H / G;
    const float scale = 1 / sqrtf(K);
    const size_t TK = (size_t)T * Kp;
    float *k = scratch(3 * TK + 2 * (size_t)(K + ROWS) * Tp + 3 * ROWS * Kp);
    if (!k) return 1;
    float *grad_k = k + TK, *grad_v = grad_k + TK, *kt = grad_v + TK, *vt = kt + (size_t)K * Tp;
    float *p = vt + (size_t)K * Tp, *ds = p + (size_t)ROWS * Tp;
    float *q = ds + (size_t)ROWS * Tp, *go = q + ROWS * Kp, *grad_q = go + ROWS * Kp;
    memset(k, 0, 4 * TK);
    memset(q, 0, 4 * 2 * ROWS * Kp);
    for (int b = 0; b < B; b++)
        for (int g = 0; g < G; g++) {
            const float *x = qkv + (size_t)b * T * ld;
            for (int t = 0; t < T; t++)
                turn(K, x + (size_t)t * ld + (H + g) * K, cos + t * K, sin + t * K, 1, k + t * Kp);
            transpose(T, K, Tp, k, Kp, kt);
            transpose(T, K, Tp, x + (H + G + g) * K, ld, vt);
            memset(grad_k, 0, 4 * 2 * TK);
            for (int h = g * group; h < (g + 1) * group; h++)
                for (int first = 0; first < T; first += ROWS) {
                    int n = T - first < ROWS ? T - first : ROWS;
                    int J = sizes->causal ? first + n : T, Jp = ROUND_UP(J);
                    for (int i = 0; i < n; i++) {
                        int t = first + i;
                        turn(K, x + (size_t)t * ld + h * K, cos + t * K, sin + t * K, scale,
                             q + i * Kp);
                        memcpy(go + i * Kp, grad + (((size_t)b * T + t) * H + h) * K, 4 * K);
                    }
                    multiply(n, Jp, K, q, Kp, 1, kt, Tp, p, Tp, 0);
                    multiply(n, Jp, K, go, Kp, 1, vt, Tp, ds, Tp, 0);
                    for (int i = 0; i < n; i++) {
                        int seen = sizes->causal ? first + i + 1 : T, end = ROUND_UP(seen);
                        float *row = p + (size_t)i * Tp, *back = ds + (size_t)i * Tp;
                        float log_sum = log_sums[((size_t)b * H + h) * T + first + i];
                        for (int j = 0; j < end; j += L)
                            store(row + j, exponential(load(row + j) - log_sum));
                        for (int j = seen; j < Jp; j++) row[j] = back[j] = 0;
                        V total = all(0);
                        for (int j = 0; j < end; j += L) total += load(row + j) * load(back + j);
                        float mean = sum(total);
                        for (int j = 0; j < end; j += L)
                            store(back + j, load(row + j) * (load(back + j) - mean));
                    }
                    multiply(J, Kp, n, p, 1, Tp, go, Kp, grad_v, Kp, 1);
                    multiply(J, Kp, n, ds, 1, Tp, q, Kp, grad_k, Kp, 1);
                    multiply(n, Kp, J, ds, Tp, 1, k, Kp, grad_q, Kp, 0);
                    for (int i = 0; i < n; i++) {
                        int t = first + i;
                        turn_back(K, grad_q + i * Kp, cos + t * K, sin + t * K, scale,
                                  grad_qkv + ((size_t)b * T + t) * ld + h * K);
                    }
                }
            for (int t = 0; t < T; t++) {
                float *to = grad_qkv + ((size_t)b * T + t) * ld;
                turn_back(K, grad_k + t * Kp, cos + t * K, sin + t * K, 1, to + (H + g) * K);
                memcpy(to + (H + G + g) * K, grad_v + t * Kp, 4 * K);
            }
        }
    free(k);
    return 0;
}

/* ------------------------------------------------------------------ norm and activation */

/* y = x r gain, r = 1/sqrt(mean(x^2) + eps) of every row. */
void rms_norm(int64_t M, int W, float eps, const float *x, const float *gain, float *y, float *r) {
    for (int64_t m = 0; m < M; m++, x += W, y += W) {
        V squares = all(0);
        float rest = 0;
        int w = 0;
        for (; w + L <= W; w += L) squares += load(x + w) * load(x + w);
        for (; w < W; w++) rest += x[w] * x[w];
        float inverse = r[m] = 1 / sqrtf((sum(squares) + rest) / W + eps);
        for (w = 0; w < W; w++) y[w] = x[w] * inverse * gain[w];
    }
}

/* rms_norm's y from what it has kept. */
static void norm_again(int64_t M, int W, const float *x, const float *gain, const float *r,
                       float *y) {
    for (int64_t m = 0; m < M; m++, x += W, y += W)
        for (int w = 0; w < W; w++) y[w] = x[w] * r[m] * gain[w];
}

/* grad_x = residual + what comes through the norm; residual may be missing. Adds to grad_gain. */
void rms_norm_back(int64_t M, int W, const float *x, const float *gain, const float *r,
                   const float *grad, const float *residual, float *grad_x, float *grad_gain) {
    for (int64_t m = 0; m < M; m++, x += W, grad += W, grad_x += W) {
        float inverse = r[m], rest = 0;
        V dots = all(0);
        int w = 0;
        for (; w + L <= W; w += L) {
            V weighed = load(grad + w) * load(x + w);
            dots += weighed * load(gain + w);
            store(grad_gain + w, load(grad_gain + w) + weighed * inverse);
        }
        for (; w < W; w++) {
            float weighed = grad[w] * x[w];
            rest += weighed * gain[w];
            grad_gain[w] += weighed * inverse;
        }
        float mean = (sum(dots) + rest) / W * inverse * inverse;
        if (residual) {
            for (w = 0; w < W; w++)
                grad_x[w] = residual[w] + inverse * (grad[w] * gain[w] - x[w] * mean);
            residual += W;
        } else
            for (w = 0; w < W; w++) grad_x[w] = inverse * (grad[w] * gain[w] - x[w] * mean);
    }
}

#define SLOPE 1.5957691216f /* 2 sqrt(2/pi) */
#define CUBIC (SLOPE * 0.044715f)

INLINE V sigmoid(V z) { return 1.0f / (1.0f + exponential(-z)); }
INLINE V gelu(V x) { return x * sigmoid(x * (x * x * CUBIC + SLOPE)); }
INLINE V gelu_back(V x, V grad) {
    V s = sigmoid(x * (x * x * CUBIC + SLOPE));
    return grad * s * (1.0f + x * (1.0f - s) * (x * x * (3 * CUBIC) + SLOPE));
}

/* GELU in the tanh form of n numbers. */
void gelus(int64_t n, const float *x, float *y) {
    int64_t i = 0;
    for (; i + L <= n; i += L) store(y + i, gelu(load(x + i)));
    if (i < n) store_part(y + i, gelu(load_part(x + i, n - i, 0)), n - i);
}
static void gelus_back(int64_t n, const float *x, const float *grad, float *grad_x) {
    int64_t i = 0;
    for (; i + L <= n; i += L) store(grad_x + i, gelu_back(load(x + i), load(grad + i)));
    if (i < n) {
        int part = n - i;
        V back = gelu_back(load_part(x + i, part, 0), load_part(grad + i, part, 0));
        store_part(grad_x + i, back, part);
    }
}

/* silu(gate) value of rows (gate, value), each F numbers. */
static void swiglu(int64_t M, int F, const float *x, float *y) {
    for (int64_t m = 0; m < M; m++, x += 2 * F, y += F) {
        int f = 0;
        for (; f + L <= F; f += L)
            store(y + f, load(x + f) * sigmoid(load(x + f)) * load(x + F + f));
        if (f < F) {
            V gate = load_part(x + f, F - f, 0), value = load_part(x + F + f, F - f, 0);
            store_part(y + f, gate * sigmoid(gate) * value, F - f);
        }
    }
}
static void swiglu_back(int64_t M, int F, const float *x, const float *grad, float *grad_x) {
    for (int64_t m = 0; m < M; m++, x += 2 * F, grad += F, grad_x += 2 * F)
        for (int f = 0; f < F; f += L) {
            int part = F - f < L ? F - f : L;
            V gate = load_part(x + f, part, 0), value = load_part(x + F + f, part, 0);
            V g = load_part(grad + f, part, 0), s = sigmoid(gate);
            store_part(grad_x + f, g * value * s * (1.0f + gate * (1.0f - s)), part);
            store_part(grad_x + F + f, g * gate * s, part);
        }
}

/* ------------------------------------------------------------------ halves of a block */

#define CHUNK 128 /* rows at a time, whose numbers stay in the second cache */

static int largest(int a, int b) { return a > b ? a : b; }
static size_t room_for(int M) { return ((size_t)M + TILE) * DEPTH; }

/* C (M, N) += a^T b for rows a (T, M) and b (T, N). */
static void add_outer(int T, int M, int N, const float *a, const float *b, float *c, float *packed,
                      float *room) {
    pack(T, N, b, N, 1, packed);
    multiply_packed(M, N, T, a, 1, M, packed, c, c, room);
}

/* y = x + W_out attention(W_qkv norm(x)), a sequence at a time. */
int add_attention(const Sizes *sizes, const float *x, const float *gain, const float *w_qkv,
                  const float *w_out, const float *cos, const float *sin, float *y, float *inverse,
                  float *qkv, float *log_sums, float *mixed) {
    const int T = sizes->T, W = sizes->W, A = sizes->H * sizes->K;
    const int Q = A + 2 * sizes->G * sizes->K;
    Sizes one = *sizes;
    one.B = 1;
    float *packed_qkv = scratch(packed_size(W, Q) + packed_size(A, W) + (size_t)T * W);
    if (!packed_qkv) return 1;
    float *packed_out = packed_qkv + packed_size(W, Q), *normed = packed_out + packed_size(A, W);
    int failed = 0;
    pack(W, Q, w_qkv, 1, W, packed_qkv);
    pack(A, W, w_out, 1, A, packed_out);
    for (int b = 0; b < sizes->B && !failed; b++) {
        rms_norm(T, W, sizes->eps, x, gain, normed, inverse);
        multiply_packed(T, Q, W, normed, W, 1, packed_qkv, 0, qkv, 0);
        failed = attention(&one, qkv, cos, sin, mixed, log_sums);
        multiply_packed(T, W, A, mixed, A, 1, packed_out, x, y, 0);
        x += (size_t)T * W, y += (size_t)T * W, inverse += T, qkv += (size_t)T * Q;
        mixed += (size_t)T * A, log_sums += (size_t)T * sizes->H;
    }
    free(packed_qkv);
    return failed;
}

int add_attention_back(const Sizes *sizes, const float *x, const float *gain, const float *w_qkv,
                       const float *w_out, const float *cos, const float *sin, const float *inverse,
                       const float *qkv, const float *log_sums, const float *mixed,
                       const float *grad, float *grad_x, float *grad_gain, float *grad_w_qkv,
                       float *grad_w_out) {
    const int T = sizes->T, W = sizes->W, A = sizes->H * sizes->K;
    const int Q = A + 2 * sizes->G * sizes->K, wide = largest(A, W);
    Sizes one = *sizes;
    one.B = 1;
    float *packed_qkv = scratch(packed_size(Q, W) + packed_size(W, A) + packed_size(T, wide) +
                                (size_t)T * (2 * wide + Q) + room_for(largest(Q, W)));
    if (!packed_qkv) return 1;
    float *packed_out = packed_qkv + packed_size(Q, W), *packed = packed_out + packed_size(W, A);
    float *back = packed + packed_size(T, wide), *normed = back + (size_t)T * wide;
    float *grad_qkv = normed + (size_t)T * wide, *room = grad_qkv + (size_t)T * Q;
    int failed = 0;
    pack(Q, W, w_qkv, W, 1, packed_qkv);
    pack(W, A, w_out, A, 1, packed_out);
    memset(grad_gain, 0, 4 * W);
    memset(grad_w_qkv, 0, 4 * (size_t)Q * W);
    memset(grad_w_out, 0, 4 * (size_t)W * A);
    for (int b = 0; b < sizes->B && !failed; b++) {
        multiply_packed(T, A, W, grad, W, 1, packed_out, 0, back, 0);
        add_outer(T, W, A, grad, mixed, grad_w_out, packed, room);
        failed = attention_back(&one, qkv, cos, sin, log_sums, back, grad_qkv);
        norm_again(T, W, x, gain, inverse, normed);
        add_outer(T, Q, W, grad_qkv, normed, grad_w_qkv, packed, room);
        multiply_packed(T, W, Q, grad_qkv, Q, 1, packed_qkv, 0, back, 0);
        rms_norm_back(T, W, x, gain, inverse, back, grad, grad_x, grad_gain);
        x += (size_t)T * W, grad += (size_t)T * W, grad_x += (size_t)T * W, inverse += T;
        qkv += (size_t)T * Q, mixed += (size_t)T * A, log_sums += (size_t)T * sizes->H;
    }
    free(packed_qkv);
    return failed;
}

static void activate(const Sizes *sizes, int M, const float *hidden, float *active) {
    if (sizes->gated)
        swiglu(M, sizes->F, hidden, active);
    else
        gelus((int64_t)M * sizes->F, hidden, active);
}

/* y = x + W_out act(W_up norm(x)); keeps hidden = W_up norm(x). */
int add_feed_forward(const Sizes *sizes, const float *x, const float *gain, const float *w_up,
                     const float *w_out, float *y, float *inverse, float *hidden) {
    const int M = sizes->B * sizes->T, W = sizes->W, F = sizes->F, up = F * (1 + sizes->gated);
    float *packed_up = scratch(packed_size(W, up) + packed_size(F, W) + CHUNK * (size_t)(W + F));
    if (!packed_up) return 1;
    float *packed_out = packed_up + packed_size(W, up), *normed = packed_out + packed_size(F, W);
    float *active = normed + CHUNK * (size_t)W;
    pack(W, up, w_up, 1, W, packed_up);
    pack(F, W, w_out, 1, F, packed_out);
    for (int first = 0; first < M; first += CHUNK) {
        int rows = M - first < CHUNK ? M - first : CHUNK;
        rms_norm(rows, W, sizes->eps, x, gain, normed, inverse);
        multiply_packed(rows, up, W, normed, W, 1, packed_up, 0, hidden, 0);
        activate(sizes, rows, hidden, active);
        multiply_packed(rows, W, F, active, F, 1, packed_out, x, y, 0);
        x += CHUNK * (size_t)W, y += CHUNK * (size_t)W, inverse += CHUNK;
        hidden += CHUNK * (size_t)up;
    }
    free(packed_up);
    return 0;
}

int add_feed_forward_back(const Sizes *sizes, const float *x, const float *gain, const float *w_up,
                          const float *w_out, const float *inverse, const float *hidden,
                          const float *grad, float *grad_x, float *grad_gain, float *grad_w_up,
                          float *grad_w_out) {
    const int M = sizes->B * sizes->T, W = sizes->W, F = sizes->F, up = F * (1 + sizes->gated);
    const int wide = largest(W, F);
    float *packed_up =
        scratch(packed_size(up, W) + packed_size(W, F) + packed_size(CHUNK, wide) +
                CHUNK * (size_t)(W + 2 * F + up) + room_for(largest(W, up)));
    if (!packed_up) return 1;
    float *packed_out = packed_up + packed_size(up, W), *packed = packed_out + packed_size(W, F);
    float *normed = packed + packed_size(CHUNK, wide), *active = normed + CHUNK * (size_t)W;
    float *back = active + CHUNK * (size_t)F, *grad_hidden = back + CHUNK * (size_t)F;
    float *room = grad_hidden + CHUNK * (size_t)up;
    pack(up, W, w_up, W, 1, packed_up);
    pack(W, F, w_out, F, 1, packed_out);
    memset(grad_gain, 0, 4 * W);
    memset(grad_w_up, 0, 4 * (size_t)up * W);
    memset(grad_w_out, 0, 4 * (size_t)W * F);
    for (int first = 0; first < M; first += CHUNK) {
        int rows = M - first < CHUNK ? M - first : CHUNK;
        activate(sizes, rows, hidden, active);
        add_outer(rows, W, F, grad, active, grad_w_out, packed, room);
        multiply_packed(rows, F, W, grad, W, 1, packed_out, 0, back, 0);
        if (sizes->gated)
            swiglu_back(rows, F, hidden, back, grad_hidden);
        else
            gelus_back((int64_t)rows * F, hidden, back, grad_hidden);
        norm_again(rows, W, x, gain, inverse, normed);
        add_outer(rows, up, W, grad_hidden, normed, grad_w_up, packed, room);
        multiply_packed(rows, W, up, grad_hidden, up, 1, packed_up, 0, normed, 0);
        rms_norm_back(rows, W, x, gain, inverse, normed, grad, grad_x, grad_gain);
        x += CHUNK * (size_t)W, grad += CHUNK * (size_t)W, grad_x += CHUNK * (size_t)W;
        inverse += CHUNK, hidden += CHUNK * (size_t)up;
    }
    free(packed_up);
    return 0;
}

/* ------------------------------------------------------------------ loss and optimizer */

#define HEAD_LOGITS (1 << 16) /* at a time */

/* loss = ln(sum(exp(x))) - x[target] of every row of V logits, which become softmax - onehot. */
static void softmax_loss(int64_t M, int N, float *x, const int64_t *target, float *loss) {
    int whole = N / L * L, part = N - whole;
    for (int64_t m = 0; m < M; m++, x += N) {
        V most = all(x[0]), total = all(0), last = all(0);
        for (int n = 0; n < whole; n += L) most = larger(most, load(x + n));
        if (part) most = larger(most, load_part(x + whole, part, x[0]));
        float top = maximum(most), wanted = x[target[m]] - top;
        for (int n = 0; n < whole; n += L) {
            V e = exponential(load(x + n) - top);
            store(x + n, e);
            total += e;
        }
        if (part) {
            last = exponential(load_part(x + whole, part, 0) - top);
            store_part(x + whole, last, part);
            last = load_part(x + whole, part, 0);
        }
        float all_of = sum(total) + sum(last), share = 1 / all_of;
        loss[m] = logf(all_of) - wanted;
        for (int n = 0; n < N; n++) x[n] *= share;
        x[target[m]] -= 1;
    }
}

/* The loss of every row, x w^T being its logits, and the gradients of their sum, if `learns`. */
int head_loss(int M, int W, int N, int learns, const float *x, const float *w,
              const int64_t *target, float *loss, float *grad_x, float *grad_w) {
    int chunk = largest(32, HEAD_LOGITS / N / TILE * TILE);
    size_t there = packed_size(W, N), back = packed_size(N, W), of_x = packed_size(chunk, W);
    float *packed = scratch(there + back + of_x + (size_t)chunk * N + room_for(N));
    if (!packed) return 1;
    float *packed_back = packed + there, *packed_x = packed_back + back, *logits = packed_x + of_x;
    float *room = logits + (size_t)chunk * N;
    pack(W, N, w, 1, W, packed);
    if (learns) {
        pack(N, W, w, W, 1, packed_back);
        memset(grad_w, 0, 4 * (size_t)N * W);
    }
    for (int first = 0; first < M; first += chunk) {
        int rows = M - first < chunk ? M - first : chunk;
        const float *from = x + (size_t)first * W;
        multiply_packed(rows, N, W, from, W, 1, packed, 0, logits, 0);
        softmax_loss(rows, N, logits, target + first, loss + first);
        if (!learns) continue;
        multiply_packed(rows, W, N, logits, N, 1, packed_back, 0, grad_x + (size_t)first * W, 0);
        add_outer(rows, N, W, logits, from, grad_w, packed_x, room);
    }
    free(packed);
    return 0;
}

/* What AdamW holds of a parameter; `step` counts in a float, as torch has it. */
typedef struct {
    float *weight, *mean, *square, *step;
    const float *grad;
    int64_t size;
    double decay;
} Parameter;

/* Scale all gradients to a norm of at most `clip`, and take a step of AdamW; returns the norm. */
double adamw(int n, const Parameter *all_of, double lr, double clip, double beta1, double beta2,
             double eps) {
    double squares = 0;
    for (int i = 0; i < n; i++) {
        const float *g = all_of[i].grad;
        int64_t size = all_of[i].size, j = 0;
        while (j + L <= size) {
            V block = all(0);
            for (int k = 0; k < 32 && j + L <= size; k++, j += L)
                block += load(g + j) * load(g + j);
            squares += sum(block);
        }
        for (; j < size; j++) squares += g[j] * g[j];
    }
    double norm = sqrt(squares), ratio = clip / (norm + 1e-6);
    const float scale = ratio > 1 ? 1 : ratio;
    for (int i = 0; i < n; i++) {
        const Parameter *p = &all_of[i];
        double step = *p->step += 1;
        const float keep = 1 - lr * p->decay, rate = lr / (1 - pow(beta1, step));
        const float root = 1 / sqrt(1 - pow(beta2, step)), small = eps;
        const float b1 = 1 - beta1, b2 = beta2, rest = 1 - beta2;
        float *restrict weight = p->weight, *restrict mean = p->mean, *restrict square = p->square;
        const float *restrict grad = p->grad;
        for (int64_t j = 0; j < p->size; j++) {
            float g = grad[j] * scale;
            float m = mean[j] += b1 * (g - mean[j]);
            float s = square[j] = b2 * square[j] + rest * g * g;
            weight[j] = weight[j] * keep - rate * m / (sqrtf(s) * root + small);
        }
    }
    return norm;
}
