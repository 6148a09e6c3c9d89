"""What tests share: a recipe, of which each says what is its own by `replace`, and a text."""

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


def rebuild(tokens, spans, filled):
    """Put what was written for each span in the place of what stood there."""
    text, position = [], 0
    for (start, stop), span in zip(spans, filled, strict=True):
        text += [*tokens[position:start], *span]
        position = stop
    return [*text, *tokens[position:]]
