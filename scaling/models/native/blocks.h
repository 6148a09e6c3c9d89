/* The halves of a block, forward and backward. */


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
