/* Products of matrices: operands packed into panels, a tile of the result in registers. */


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
