"""Cards for known models, fixed texts, and tiny random checkpoints for tests.

    card.py             what a card may say, and the check of a file           (stdlib)
    catalog.py          cards of known models, read from ``cards/*.toml``      (stdlib)
    texts.py            sentences, hard texts and pairs, read from ``data/``   (stdlib)
    templates.py        score templates of known rerankers, read from ``templates/`` (stdlib)
    tiny.py             write a tiny random checkpoint of any family           (torch, transformers)
    tiny_families.py    the table of families: data only                       (stdlib)
    tiny_weights.py     random weights whose outputs differ between texts      (torch)
    tiny_tokenizers.py  small real tokenizers, one of every kind               (tokenizers)
    st_files.py         sentence-transformers side files around a checkpoint   (numpy, safetensors)

Importing this package loads none of them.
"""
