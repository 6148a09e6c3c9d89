/* As many numbers at a time as the processor takes, and e^x of them. */

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
