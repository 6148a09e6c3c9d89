"""Architectures in the form of Hugging Face's config.json: which of its keys is which of our sizes.

A family is data: for each of our sizes the key that holds it, or what is fixed. Source: the
`configuration_*.py` and `modeling_*.py` of transformers 5.24, whose own counts ours equal.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import Any

from scaling.shapes.architecture import Architecture

NEEDED = object()


@dataclass(frozen=True)
class Key:
    """Where a configuration has a size.

    Examples
    --------
    As many key heads as are told, else as many as heads:

    >>> LLAMA["kv_heads"].names
    'num_key_value_heads|num_attention_heads'
    """

    names: str  # of its keys: "a|b" the first that is there, "a*b" a product, "a+b" a sum
    default: Any = NEEDED  # where none is there; None: derived from the other sizes


LLAMA: dict[str, Any] = {
    "vocab_size": Key("vocab_size"),
    "seq_len": Key("max_position_embeddings"),
    "n_layers": Key("num_hidden_layers"),
    "width": Key("hidden_size"),
    "n_heads": Key("num_attention_heads"),
    "kv_heads": Key("num_key_value_heads|num_attention_heads"),
    "head_width": Key("head_dim", None),
    "ffn_width": Key("intermediate_size"),
    "tied": Key("tie_word_embeddings", False),
    "qkv_bias": Key("attention_bias", False),
    "out_bias": Key("attention_bias", False),
    "ffn_bias": Key("mlp_bias", False),
}
MISTRAL = LLAMA | {"qkv_bias": False, "out_bias": False, "ffn_bias": False}
QWEN2 = MISTRAL | {"qkv_bias": True}
QWEN3 = LLAMA | {"ffn_bias": False, "qk_norm": "head"}
GEMMA = LLAMA | {"ffn_bias": False, "tied": Key("tie_word_embeddings", True)}
GPT2 = {
    "vocab_size": Key("vocab_size"),
    "seq_len": Key("n_positions|n_ctx"),
    "position_rows": Key("n_positions|n_ctx"),
    "n_layers": Key("n_layer|num_hidden_layers"),
    "width": Key("n_embd|hidden_size"),
    "n_heads": Key("n_head|num_attention_heads"),
    "kv_heads": Key("n_head|num_attention_heads"),
    "head_width": None,
    "ffn_width": Key("n_inner", None),
    "gated": False,
    "tied": Key("tie_word_embeddings", True),
    "norm_vectors": 2,
    "qkv_bias": True,
    "out_bias": True,
    "ffn_bias": True,
}
EXPERTS = {
    "mixture": True,
    "n_experts": Key("num_experts|num_local_experts"),
    "experts_per_token": Key("num_experts_per_tok"),
    "expert_width": Key("moe_intermediate_size"),
    "every": Key("decoder_sparse_step", 1),
    "dense_list": Key("mlp_only_layers", ()),
}
DEEPSEEK = (
    LLAMA
    | EXPERTS
    | {
        "ffn_bias": False,
        "kv_heads": Key("num_attention_heads"),
        "head_width": Key("qk_nope_head_dim+qk_rope_head_dim"),
        "value_width": Key("v_head_dim"),
        "rope_width": Key("qk_rope_head_dim"),
        "q_rank": Key("q_lora_rank", 0),
        "kv_rank": Key("kv_lora_rank"),
        "n_experts": Key("n_routed_experts|num_local_experts"),
        "shared_width": Key("n_shared_experts*moe_intermediate_size", 0),
        "first_dense": Key("first_k_dense_replace", 0),
    }
)
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "mistral": MISTRAL,
    "phi3": MISTRAL,
    "arcee": LLAMA | {"gated": False},
    "olmo2": LLAMA | {"ffn_bias": False, "qk_norm": "width"},
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "gemma": GEMMA,
    "gemma2": GEMMA | {"layer_norms": 4},
    "gemma3_text": GEMMA | {"layer_norms": 4, "qk_norm": "head"},
    "gpt2": GPT2,
    "gpt_neox": LLAMA
    | {
        "kv_heads": Key("num_attention_heads"),
        "head_width": None,
        "gated": False,
        "norm_vectors": 2,
        "qkv_bias": Key("attention_bias", True),
        "out_bias": Key("attention_bias", True),
        "ffn_bias": True,
    },
    "bloom": GPT2
    | {
        "seq_len": Key("seq_length", 2048),
        "width": Key("hidden_size|n_embed"),
        "position_rows": 0,
        "ffn_width": None,
        "embedding_norm": True,
    },
    "mixtral": MISTRAL
    | EXPERTS
    | {
        "ffn_width": 0,
        "expert_width": Key("intermediate_size"),
    },
    "olmoe": LLAMA
    | EXPERTS
    | {
        "ffn_bias": False,
        "ffn_width": 0,
        "expert_width": Key("intermediate_size"),
        "qk_norm": "width",
    },
    "qwen2_moe": QWEN2
    | EXPERTS
    | {"shared_width": Key("shared_expert_intermediate_size"), "shared_gate": True},
    "qwen3_moe": QWEN3 | EXPERTS,
    "deepseek_v2": DEEPSEEK,
    "deepseek_v3": DEEPSEEK,
}
KINDS = {part.name: part.type for part in fields(Architecture)} | {"dense_list": list}
KINDS |= {"every": int, "first_dense": int, "value_width": int}
WANTED = {int: "a whole number, 0 or more", bool: "true or false", list: "a list of layers"}
NOT_COUNTED = {  # keys of something that is not counted, and what that is
    "num_nextn_predict_layers": "layers that predict further tokens",
    "vision_config": "the part that sees",
    "audio_config": "the part that hears",
}


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a config.json, or that of a folder; ValueError where it is no object of names.

    Examples
    --------
    >>> _ = Path("config.json").write_text('{"model_type": "llama", "hidden_size": 4096}')
    >>> read_config("config.json")
    {'model_type': 'llama', 'hidden_size': 4096}
    """
    file = Path(path)
    file = file / "config.json" if file.is_dir() else file
    try:
        config = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"model={path}: cannot be read, {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"model={path}: is no JSON, {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"model={path}: must be an object of names and values, as config.json is")
    return config


def read_architecture(config: Mapping[str, Any]) -> Architecture:
    """Tell the architecture that a configuration in Hugging Face's form describes.

    Of a model that sees or hears as well it is the part that reads.

    Raises
    ------
    ValueError
        An unknown model_type, a key that is missing or of the wrong type, or sizes that cannot be.

    Examples
    --------
    >>> gpt2 = dict(model_type="gpt2", vocab_size=50_257, n_embd=768, n_layer=12, n_head=12)
    >>> found = read_architecture(gpt2 | {"n_positions": 1024})
    >>> from scaling.shapes.architecture import count_params
    >>> f"{count_params(found):,}"
    '124,439,808'
    """
    family, part = config.get("model_type"), config.get("text_config")
    if family not in FAMILIES and isinstance(part, Mapping):
        return read_architecture(part)
    if family not in FAMILIES:
        raise ValueError(f"model_type {family!r} is unknown; known are {', '.join(FAMILIES)}")
    found = {
        name: _find(config, source, KINDS[name], family) if isinstance(source, Key) else source
        for name, source in FAMILIES[family].items()
    }
    every, first = found.pop("every", 1), found.pop("first_dense", 0)
    listed = found.pop("dense_list", ())
    if found["head_width"] is None and found["n_heads"]:
        found["head_width"] = found["width"] // found["n_heads"]
    if found["ffn_width"] is None:
        found["ffn_width"] = 4 * found["width"]
    if found.get("mixture"):
        dense = [
            i < first or i in listed or (i + 1) % max(every, 1) for i in range(found["n_layers"])
        ]
        found["dense_layers"] = sum(map(bool, dense))
    return Architecture(name=family, **found)


def _find(config: Mapping[str, Any], key: Key, kind: Any, family: str) -> Any:
    """What a configuration has of a size."""
    for choice in key.names.split("|"):
        terms = [[_read(config, n, kind) for n in term.split("*")] for term in choice.split("+")]
        if all(value is not None for term in terms for value in term):
            return sum(map(prod, terms)) if kind is int else terms[0][0]
    if key.default is NEEDED:
        missing = key.names.replace("|", " or ").replace("*", " and ").replace("+", " and ")
        raise ValueError(f"{missing} is missing; a {family} needs it, {WANTED[kind]}")
    return key.default


def _read(config: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = config.get(name)
    if value is None:
        return None
    if not isinstance(value, kind) or (kind is int and (isinstance(value, bool) or value < 0)):
        raise ValueError(f"{name}={value!r} must be {WANTED[kind]}")
    return value


def describe_uncounted(config: Mapping[str, Any]) -> list[str]:
    """Name what a configuration has beside the decoder that is counted.

    Examples
    --------
    >>> describe_uncounted({"model_type": "gemma3", "vision_config": {"hidden_size": 1152}})
    ['the part that sees (vision_config): not counted']
    """
    return [f"{what} ({key}): not counted" for key, what in NOT_COUNTED.items() if config.get(key)]
