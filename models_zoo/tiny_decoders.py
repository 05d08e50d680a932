"""Further decoders, for the sweep over every architecture; ``tiny_families`` has the everyday ones.

Windows are shorter than the texts, heads share keys and values, and no head size is the quotient of hidden size and
heads where a configuration can say so: what real checkpoints have and naive exporters get wrong.
"""

from __future__ import annotations

from typing import Any

from .tiny_families import TinyFamily

_GROUPED: dict[str, Any] = {"num_key_value_heads": 2}
_WINDOW: dict[str, Any] = {**_GROUPED, "sliding_window": 8}
_MIXED = ("sliding_attention", "full_attention")
_WIDE_HEADS = {"intermediate_size": 2, "head_dim": 0.5}
# A router over four experts, by the three spellings of their number.
_EXPERTS: dict[str, Any] = {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LOCAL_EXPERTS: dict[str, Any] = {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
_ROUTED_EXPERTS: dict[str, Any] = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
}
# Keys and values out of one low-rank vector, and a rotary part beside the rest of a head.
_LATENT: dict[str, Any] = {
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}


def _decoder(stem: str, tokenizer: str = "llama", **row: Any) -> TinyFamily:
    return TinyFamily(stem=stem, tokenizer=tokenizer, decoder=True, **{"config": _GROUPED, **row})


DECODERS: dict[str, TinyFamily] = {
    "apertus": _decoder("Apertus"),
    "arcee": _decoder("Arcee", scaled=_WIDE_HEADS),
    "biogpt": _decoder("BioGpt", config={}),
    "bitnet": _decoder("BitNet"),
    "bloom": _decoder("Bloom", "qwen2", config={}),
    "codegen": _decoder("CodeGen", config={"rotary_dim": 4}),
    "cohere": _decoder("Cohere"),
    "cohere2": _decoder("Cohere2", config=_WINDOW, layer_types=_MIXED),
    "ctrl": _decoder("CTRL", config={}, scaled={"dff": 2}),
    "cwm": _decoder("Cwm", config=_WINDOW, layer_types=_MIXED, scaled=_WIDE_HEADS),
    "deepseek_v2": _decoder("DeepseekV2", config={**_ROUTED_EXPERTS, **_LATENT}),
    "deepseek_v3": _decoder("DeepseekV3", config={**_ROUTED_EXPERTS, **_LATENT}),
    "diffllama": _decoder("DiffLlama"),
    "doge": _decoder("Doge"),
    "dots1": _decoder("Dots1", config={**_GROUPED, **_ROUTED_EXPERTS}),
    "ernie4_5": _decoder("Ernie4_5", scaled=_WIDE_HEADS),
    "ernie4_5_moe": _decoder(
        "Ernie4_5_Moe", config={**_EXPERTS, "moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 1}
    ),
    "exaone4": _decoder("Exaone4", config=_WINDOW, layer_types=_MIXED),
    "falcon": _decoder("Falcon", config={"new_decoder_architecture": True, "num_kv_heads": 2}),
    "flex_olmo": _decoder("FlexOlmo", config=_EXPERTS),
    "gemma": _decoder("Gemma", "gemma", scaled=_WIDE_HEADS, gains={"embed_tokens": 0.75}),
    "gemma2": _decoder(
        "Gemma2",
        "gemma",
        config=_WINDOW,
        layer_types=_MIXED,
        scaled={**_WIDE_HEADS, "query_pre_attn_scalar": 0.5},
        gains={"embed_tokens": 0.75},
    ),
    "glm": _decoder("Glm", scaled=_WIDE_HEADS),
    "glm4": _decoder("Glm4", scaled=_WIDE_HEADS),
    "glm4_moe": _decoder("Glm4Moe", config={**_GROUPED, **_ROUTED_EXPERTS}),
    "gpt2": _decoder("GPT2", "qwen2", config={}),
    "gpt_bigcode": _decoder("GPTBigCode", "qwen2", config={}),
    "gpt_neo": _decoder("GPTNeo", "qwen2", config={"attention_types": [[["global", "local"], 1]], "window_size": 8}),
    "gpt_neox": _decoder("GPTNeoX", "qwen2", config={}),
    "gpt_oss": _decoder(
        "GptOss", config={**_LOCAL_EXPERTS, "sliding_window": 8}, layer_types=_MIXED, scaled=_WIDE_HEADS
    ),
    "gptj": _decoder("GPTJ", "qwen2", config={"rotary_dim": 4}),
    "granite": _decoder("Granite"),
    "granitemoe": _decoder("GraniteMoe", config=_LOCAL_EXPERTS),
    "granitemoeshared": _decoder("GraniteMoeShared", config=_LOCAL_EXPERTS),
    "helium": _decoder("Helium", scaled={"intermediate_size": 2, "head_dim": 0.25}),
    "hunyuan_v1_dense": _decoder("HunYuanDenseV1", scaled=_WIDE_HEADS),
    "hunyuan_v1_moe": _decoder(
        "HunYuanMoEV1", config={**_GROUPED, "num_experts": 4, "moe_topk": 2}, scaled=_WIDE_HEADS
    ),
    "hyperclovax": _decoder("HyperCLOVAX"),
    "jamba": _decoder("Jamba", config={**_GROUPED, "num_experts": 4, "attn_layer_period": 2, "attn_layer_offset": 1}),
    "jetmoe": _decoder("JetMoe", config={**_LOCAL_EXPERTS, "num_key_value_heads": 2, "kv_channels": 8}),
    "lfm2": _decoder("Lfm2", layer_types=("conv", "full_attention")),
    "mamba": _decoder("Mamba", config={}),
    "minicpm3": _decoder("MiniCPM3", config=_LATENT),
    "minimax": _decoder(
        "MiniMax", config={**_LOCAL_EXPERTS, "block_size": 16}, layer_types=("linear_attention", "full_attention")
    ),
    "ministral": _decoder("Ministral", config=_WINDOW, layer_types=_MIXED, scaled=_WIDE_HEADS),
    "ministral3": _decoder("Ministral3", scaled=_WIDE_HEADS),
    "mistral": _decoder("Mistral", config=_WINDOW, scaled=_WIDE_HEADS),
    "mistral4": _decoder("Mistral4", config={**_ROUTED_EXPERTS, **_LATENT}),
    "mixtral": _decoder("Mixtral", config={**_LOCAL_EXPERTS, "sliding_window": 8}),
    "modernbert-decoder": _decoder(
        "ModernBertDecoder",
        "modernbert",
        config={"local_attention": 8, "bos_token_id": 1},  # may not be null
        layer_types=_MIXED,
    ),
    "mpt": _decoder("Mpt", "qwen2", config={}),
    "nemotron": _decoder("Nemotron"),
    "olmo": _decoder("Olmo"),
    "olmo2": _decoder("Olmo2"),
    "olmo3": _decoder("Olmo3", config=_WINDOW, layer_types=_MIXED),
    "olmoe": _decoder("Olmoe", config=_EXPERTS),
    "openai-gpt": _decoder("OpenAIGPT", config={}),
    "opt": _decoder("OPT", "roberta", config={"word_embed_proj_dim": 16}, scaled={"ffn_dim": 2}),
    "persimmon": _decoder("Persimmon", config={}),
    "phi": _decoder("Phi"),
    "phi3": _decoder("Phi3", config=_WINDOW),
    "phimoe": _decoder("Phimoe", config=_LOCAL_EXPERTS),
    "qwen2_moe": _decoder("Qwen2Moe", "qwen2", config={**_EXPERTS, "shared_expert_intermediate_size": 32}),
    "qwen3_moe": _decoder("Qwen3Moe", "qwen3", config=_EXPERTS, scaled=_WIDE_HEADS),
    "qwen3_next": _decoder(
        "Qwen3Next",
        "qwen3",
        config={
            **_EXPERTS,
            "shared_expert_intermediate_size": 32,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
        },
        layer_types=("linear_attention", "full_attention"),
        scaled=_WIDE_HEADS,
    ),
    "seed_oss": _decoder("SeedOss", scaled=_WIDE_HEADS),
    "smollm3": _decoder("SmolLM3", config={**_GROUPED, "no_rope_layers": [1, 0]}),
    "stablelm": _decoder("StableLm"),
    "starcoder2": _decoder("Starcoder2", config=_WINDOW),
    "vaultgemma": _decoder("VaultGemma", "gemma", config=_WINDOW, layer_types=_MIXED, scaled=_WIDE_HEADS),
    "xglm": _decoder("XGLM", "xlm-roberta", config={}, scaled={"ffn_dim": 2}),
    "youtu": _decoder("Youtu", config=_LATENT),
}
