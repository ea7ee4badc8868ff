"""The shapes of GLM-4-Voice's language model."""

from typing import Any

from transformers import PretrainedConfig

_AS_PUBLISHED = {
    "original_rope": True,
    "multi_query_attention": True,
    "rmsnorm": True,
    "post_layer_norm": True,
    "apply_residual_connection_post_layernorm": False,
    "add_bias_linear": False,
    "hidden_dropout": 0.0,
    "fp32_residual_connection": False,
    "tie_word_embeddings": False,
}
"""What the published `config.json` says of what is no choice here, for engines that ask: vLLM has
ChatGLM of its own, and takes a folder that was saved here by these and by `ARCHITECTURE`."""
ARCHITECTURE = "ChatGLMModel"
"""The published name of the architecture, by which engines know it."""


class ChatGLMConfig(PretrainedConfig):
    """The published `config.json`; the names are ChatGLM's."""

    model_type = "chatglm"
    attribute_map = {  # noqa: RUF012  (transformers' way)
        "num_hidden_layers": "num_layers",
        "intermediate_size": "ffn_hidden_size",
        "head_dim": "kv_channels",
        "num_key_value_heads": "multi_query_group_num",
        "vocab_size": "padded_vocab_size",
        "max_position_embeddings": "seq_length",
    }

    def __init__(
        self,
        num_layers: int = 40,
        hidden_size: int = 4096,
        ffn_hidden_size: int = 13696,
        kv_channels: int = 128,
        num_attention_heads: int = 32,
        multi_query_group_num: int = 2,
        padded_vocab_size: int = 168_960,
        seq_length: int = 8192,
        layernorm_epsilon: float = 3.90625e-08,
        rope_ratio: float = 1.0,
        add_qkv_bias: bool = True,
        attention_dropout: float = 0.0,
        initializer_range: float = 0.02,
        **others: Any,  # noqa: ANN401  (whatever else stands in the file)
    ) -> None:
        self.num_layers = num_layers
        self.hidden_size = hidden_size
        self.ffn_hidden_size = ffn_hidden_size
        self.kv_channels = kv_channels
        self.num_attention_heads = num_attention_heads
        self.multi_query_group_num = multi_query_group_num
        self.padded_vocab_size = padded_vocab_size
        self.seq_length = seq_length
        self.layernorm_epsilon = layernorm_epsilon
        self.rope_ratio = rope_ratio
        self.add_qkv_bias = add_qkv_bias
        self.attention_dropout = attention_dropout
        self.initializer_range = initializer_range
        for repeated in self.attribute_map:
            others.pop(repeated, None)
        super().__init__(**(_AS_PUBLISHED | others))
