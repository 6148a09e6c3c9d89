/* RMSNorm and activations, each a pass over memory. */


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
