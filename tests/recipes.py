"""What the tests that train something share; each says what is its own by `replace`."""

from scaling.training.optim import Recipe

TINY = Recipe(
    lr=0.01,
    batch_size=8,
    steps=60,
    warmup_steps=5,
    cooldown_steps=12,
    schedule="cooldown",
    beta1=0.9,
    beta2=0.95,
    weight_decay=0.1,
    grad_clip=1.0,
)
