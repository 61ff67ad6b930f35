"""Random decoders after Llama in transformers."""

import torch
import transformers as theirs

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
FAMILIES = {  # the classes of transformers, and the entries that a small model needs
    "mistral": (theirs.MistralConfig, theirs.MistralForCausalLM, {"sliding_window": 8}),
    "qwen2": (theirs.Qwen2Config, theirs.Qwen2ForCausalLM, {"tie_word_embeddings": True}),
    "qwen3": (theirs.Qwen3Config, theirs.Qwen3ForCausalLM, {"head_dim": 12}),
    "smollm3": (theirs.SmolLM3Config, theirs.SmolLM3ForCausalLM, {"no_rope_layer_interval": 2}),
    "gemma3": (
        theirs.Gemma3TextConfig,
        theirs.Gemma3ForCausalLM,
        {"head_dim": 12, "sliding_window": 8, "sliding_window_pattern": 3}
        | {"query_pre_attn_scalar": 12},
    ),
    "phi3": (theirs.Phi3Config, theirs.Phi3ForCausalLM, {"sliding_window": 9}),
}


def random_decoder(family, vocabulary, seed=0, **entries):
    """A model in which no gain is one and no branch is negligible."""
    torch.manual_seed(seed)
    config, model, needed = FAMILIES[family]
    entries = {"vocab_size": vocabulary, **SIZES, **needed, **entries}
    made = model(config(**entries, attn_implementation="eager")).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return made
