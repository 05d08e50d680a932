"""``modules.json`` as a chain, whichever kind of model it is of, and which of its modules a conversion is about."""

from __future__ import annotations

from .conversion import is_modular_cross_encoder
from .errors import ConfigError
from .files import CheckpointFiles
from .late_modules import STANFORD_ARCHITECTURES, stanford_chain, token_level_chain
from .sparse_modules import splade_chain
from .spec import Convert
from .st_modules import SCORES, VECTOR, ModuleChain, parse_chain, require_output
from .token_classifier import without_logit_score

_NO_CHAIN = ModuleChain(transformer_path="", pooling=None, steps=(), normalize=False)


def read_chain(files: CheckpointFiles) -> ModuleChain:
    """Read ``modules.json``; an empty chain without one.

    Raises:
        ConfigError: a module, an order or a setting that cannot be represented.
    """
    if not files.modules:
        return stanford_chain(files) if files.architecture in STANFORD_ARCHITECTURES else _NO_CHAIN
    sparse = splade_chain(files.modules, files.module_configs)
    if sparse is not None:
        return sparse
    return parse_chain(*token_level_chain(without_logit_score(files.modules), files.module_configs))


def chain_for(files: CheckpointFiles, convert: Convert) -> ModuleChain:
    """Return the modules that the conversion is about; a head of the checkpoint's own class leaves them out.

    Raises:
        ConfigError: as ``read_chain``; or a chain that ends in scores where a vector is asked for.
    """
    chain = read_chain(files)
    is_modular = convert == "classify" and is_modular_cross_encoder(files)
    if convert != "embed" and not is_modular:
        return _NO_CHAIN
    if chain.scores and not is_modular:
        raise ConfigError(
            f"modules.json ends in {SCORES!r}, which convert={convert} does not answer; expected {VECTOR!r}, or a "
            "CrossEncoder in config_sentence_transformers.json and convert=classify"
        )
    is_sparse = chain.pooling == ("SPLADE",)
    if chain.pooling is not None or files.transformer_config.get("module_output_name") == VECTOR:
        require_output(files.transformer_config, "logits" if is_sparse else "last_hidden_state")
    return chain
