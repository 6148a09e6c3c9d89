/* Attention of one thread, with rotary positions; weights are there for a few queries only. */


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

/* The same head at n positions, whose rows of x are ld apart, to rows of Kp. */
static void turn_all(int n, int K, const float *x, long ld, const float *cos, const float *sin,
                     float scale, float *y, int Kp) {
    for (int i = 0; i < n; i++)
        turn(K, x + i * ld, cos + i * K, sin + i * K, scale, y + i * Kp);
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
            turn_all(T, K, x + (H + g) * K, ld, cos, sin, 1, k, Kp);
            for (int t = 0; t < T; t++)
                memcpy(v + t * Kp, x + (size_t)t * ld + (H + G + g) * K, 4 * K);
            transpose(T, K, Tp, k, Kp, kt);
            for (int h = g * group; h < (g + 1) * group; h++)
                for (int first = 0; first < T; first += ROWS) {
                    int n = T - first < ROWS ? T - first : ROWS;
                    int J = sizes->causal ? first + n : T, Jp = ROUND_UP(J);
                    turn_all(n, K, x + (size_t)first * ld + h * K, ld, cos + first * K,
                             sin + first * K, scale, q, Kp);
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
            turn_all(T, K, x + (H + g) * K, ld, cos, sin, 1, k, Kp);
            transpose(T, K, Tp, k, Kp, kt);
            transpose(T, K, Tp, x + (H + G + g) * K, ld, vt);
            memset(grad_k, 0, 4 * 2 * TK);
            for (int h = g * group; h < (g + 1) * group; h++)
                for (int first = 0; first < T; first += ROWS) {
                    int n = T - first < ROWS ? T - first : ROWS;
                    int J = sizes->causal ? first + n : T, Jp = ROUND_UP(J);
                    turn_all(n, K, x + (size_t)first * ld + h * K, ld, cos + first * K,
                             sin + first * K, scale, q, Kp);
                    for (int i = 0; i < n; i++)
                        memcpy(go + i * Kp, grad + (((size_t)b * T + first + i) * H + h) * K, 4 * K);
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
