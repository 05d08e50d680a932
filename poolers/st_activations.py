"""Which function a Dense module of sentence-transformers applies, by the class path that it was saved with.

sentence-transformers saves the class alone and builds it without arguments, so every function has its defaults. Classes
of ``transformers.activations`` count as what they are; sentence-transformers itself computes them only with
``trust_remote_code=True``, and a Tanh in their place without it.
"""

from __future__ import annotations

from .errors import ConfigError, closest

_TORCH_OWNERS = ("torch.nn", "torch.nn.modules", "torch.nn.modules.activation", "torch.nn.modules.linear")
_TRANSFORMERS_OWNER = "transformers.activations"

# Class -> the function the graph computes. Left out: PReLU (it learns a weight), GLU (it halves the width),
# Softmax2d (images) and Threshold, which has no defaults.
TORCH_CLASSES: dict[str, str] = {
    "Identity": "identity",
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "CELU": "celu",
    "ELU": "elu",
    "Hardshrink": "hardshrink",
    "Hardsigmoid": "hardsigmoid",
    "Hardswish": "hardswish",
    "Hardtanh": "hardtanh",
    "LeakyReLU": "leaky_relu",
    "LogSigmoid": "log_sigmoid",
    "LogSoftmax": "log_softmax",
    "Mish": "mish",
    "ReLU6": "relu6",
    "RReLU": "rrelu",
    "SELU": "selu",
    "Softmax": "softmax",
    "Softmin": "softmin",
    "Softplus": "softplus",
    "Softshrink": "softshrink",
    "Softsign": "softsign",
    "Tanhshrink": "tanhshrink",
}
TRANSFORMERS_CLASSES: dict[str, str] = {
    "AccurateGELUActivation": "gelu_tanh",
    "FastGELUActivation": "gelu_tanh",
    "GELUActivation": "gelu",
    "GELUTanh": "gelu_tanh",
    "LaplaceActivation": "laplace",
    "LinearActivation": "identity",
    "MishActivation": "mish",
    "NewGELUActivation": "gelu_tanh",
    "PytorchGELUTanh": "gelu_tanh",
    "QuickGELUActivation": "quick_gelu",
    "ReLUSquaredActivation": "relu_squared",
    "SiLUActivation": "silu",
}

# Their axis is the last one of a batch of vectors, and the texts themselves in a batch of token vectors.
ACROSS_FEATURES: frozenset[str] = frozenset({"softmax", "softmin", "log_softmax"})


def parse_activation(path: object, where: str) -> str:
    """Return the function of a class path, such as ``torch.nn.modules.activation.Tanh``.

    Args:
        path: the value of ``activation_function``.
        where: the file it stands in, for the message.

    Raises:
        ConfigError: a class that has no counterpart in the graph.
    """
    owner, _, name = str(path).rpartition(".")
    table = TORCH_CLASSES if owner in _TORCH_OWNERS else TRANSFORMERS_CLASSES if owner == _TRANSFORMERS_OWNER else {}
    if name not in table:
        known = table or TORCH_CLASSES
        raise ConfigError(
            f"{where}: activation_function {path!r} is not supported; expected a class of torch.nn.modules.activation "
            f"or transformers.activations{closest(name, known)}"
        )
    return table[name]


def class_path(function: str, stated: str = "") -> str:
    """Return the class path to save a function under: PyTorch's where it has one, which every reader builds.

    Args:
        function: what ``parse_activation`` returned.
        stated: the path it came from, kept where PyTorch has no such class.
    """
    name = next((name for name, own in TORCH_CLASSES.items() if own == function), None)
    if name is None:
        return stated
    return f"torch.nn.modules.{'linear' if name == 'Identity' else 'activation'}.{name}"
