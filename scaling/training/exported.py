"""A saved GPT as `transformers` reads it: no code travels with the model, its losses stay.

Llama (`LlamaForCausalLM`) has the same parts as our GPT with SwiGLU, and Arcee
(`ArceeForCausalLM`), a Llama whose feed-forward has two matrices, as the one with GELU. Two things
differ in form only: queries, keys and values are matrices of their own there, as are gate and
value; and a table enters the stream as it is, where ours is divided by `TABLE_STD`. So the exported
table is divided once and for all, and the gain in front of a tied head multiplied.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from scaling.data.tokenizer import find_separator
from scaling.files import write_bytes, write_text
from scaling.models.gpt import GPT
from scaling.models.layers import TABLE_STD
from scaling.shapes.shape import Shape
from scaling.training.records import CONFIG
from scaling.training.saved import TOKENIZER, WEIGHTS, load_model, read_config

FAMILIES = {  # our feed-forward -> theirs, and how they call what bends it
    "swiglu": ("llama", "LlamaForCausalLM", "silu"),
    "gelu": ("arcee", "ArceeForCausalLM", "gelu_pytorch_tanh"),
}
CARD = "README.md"
FILES = (CONFIG, WEIGHTS, TOKENIZER, "tokenizer_config.json", CARD)


def export_model(folder: Path, out: Path) -> str:
    """Write a saved GPT for `transformers`; return the class that reads it.

    Raises
    ------
    ValueError
        A BERT or a T5, or a model whose activations are rounded: `transformers` has no equal.
    FileNotFoundError, ValueError
        As `scaling.training.saved.load_model`.
    """
    config = read_config(folder)
    model, tokenizer = load_model(folder)
    if not isinstance(model, GPT):
        raise ValueError(
            f"{folder} is a {model.shape.family} of ours, with rotary positions and RMSNorm: "
            "transformers has no such architecture; export a gpt"
        )
    if (config.get("storage") or {}).get("activations"):
        raise ValueError(
            f"{folder} rounds its activations, which transformers does not; export the model that "
            "it was made from"
        )
    weights = save(dict(rename_weights(model)), {"format": "pt"})
    write_bytes(out / WEIGHTS, weights)
    if tokenizer is not None:
        write_text(out / TOKENIZER, tokenizer.to_str())
        read_by = {"tokenizer_class": "PreTrainedTokenizerFast"}
        told = read_by | {"model_max_length": model.shape.seq_len}
        write_text(out / "tokenizer_config.json", json.dumps(told, indent=1))
    if (folder / CARD).is_file():
        card = (folder / CARD).read_text("utf-8")
        write_text(
            out / CARD,
            card.replace("library_name: scaling-laboratory", "library_name: transformers", 1),
        )
    end = find_separator(tokenizer, None, model.shape.vocab_size) if tokenizer else None
    written = describe_shape(model.shape, end)
    write_text(out / CONFIG, json.dumps(written, indent=1))
    return written["architectures"][0]


def rename_weights(model: GPT) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a GPT under the names, and in the form, that Llama has."""
    shape = model.shape
    K, H, G = shape.head_width, shape.n_heads, shape.kv_heads
    yield "model.embed_tokens.weight", model.table.weight.detach() / TABLE_STD
    for i, block in enumerate(model.blocks):
        found = {name: weight.detach() for name, weight in block.named_parameters()}
        at, qkv = f"model.layers.{i}", found["attention.qkv.weight"].split((H * K, G * K, G * K))
        yield f"{at}.input_layernorm.weight", found["attention_norm.gain"]
        for name, weight in zip("qkv", qkv, strict=True):
            yield f"{at}.self_attn.{name}_proj.weight", weight.clone()  # of storage of its own
        yield f"{at}.self_attn.o_proj.weight", found["attention.out.weight"]
        yield f"{at}.post_attention_layernorm.weight", found["ffn_norm.gain"]
        parts = found["ffn.up.weight"].chunk(2) if shape.ffn == "swiglu" else ()
        gate, up = parts or (None, found["ffn.up.weight"])
        if gate is not None:
            yield f"{at}.mlp.gate_proj.weight", gate.clone()
        yield f"{at}.mlp.up_proj.weight", up.clone()
        yield f"{at}.mlp.down_proj.weight", found["ffn.out.weight"]
    yield "model.norm.weight", model.norm.gain.detach() * (TABLE_STD if shape.tied else 1.0)
    if not shape.tied:
        yield "lm_head.weight", model.head.weight.detach()


def describe_shape(shape: Shape, end: int | None = None) -> dict[str, Any]:
    """Return config.json of a GPT as `transformers` reads it; `end` is the id that ends a text."""
    family, name, activation = FAMILIES[shape.ffn]
    return {
        "architectures": [name],
        "model_type": family,
        "vocab_size": shape.table_rows,
        "max_position_embeddings": shape.seq_len,
        "hidden_size": shape.width,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_width,
        "hidden_act": activation,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": shape.tied,
        "torch_dtype": "float32",
        "bos_token_id": None,
        "eos_token_id": end,
        "pad_token_id": None,
    }
