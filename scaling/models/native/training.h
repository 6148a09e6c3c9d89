/* The loss of a head, and AdamW. */


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

/* The loss of every row, x w^T being its logits, and the gradients of their sum, if `learns`, in
   which every row may have a factor. */
int head_loss(int M, int W, int N, int learns, const float *x, const float *w,
              const int64_t *target, const float *factor, float *loss, float *grad_x, float *grad_w) {
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
        for (int m = 0; factor && m < rows; m++)
            for (int n = 0; n < N; n++) logits[(size_t)m * N + n] *= factor[first + m];
        multiply_packed(rows, W, N, logits, N, 1, packed_back, 0, grad_x + (size_t)first * W, 0);
        add_outer(rows, N, W, logits, from, grad_w, packed_x, room);
    }
    free(packed);
    return 0;
}

/* What AdamW holds of a parameter; `step` counts in a float, as torch has it. One without a gradient
   stays as it is. */
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
        int64_t size = g ? all_of[i].size : 0, j = 0;
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
        if (!p->grad) continue;
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
