/* Fused fp32 kernels of a training step on one thread; `native.py` compiles, checks and calls them.

   Every sum is taken in an order that sizes alone decide, so that a step repeats bit for bit. No
   -ffast-math: it would let a diverged loss pass for a number, and set the whole process to flush
   subnormals. What must be wide is written in vectors, which gcc and clang map to any processor.

   Letters: M rows, W width, B sequences, T positions, H heads, G key/value heads, K head width,
   Q = (H + 2 G) K, F feed-forward width, V vocabulary. */

#include "vectors.h"

#include "products.h"

#include "attention.h"

#include "layers.h"

#include "blocks.h"

#include "training.h"
