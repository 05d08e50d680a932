// A bundle of pool-export in JavaScript: token ids in, the graph's named outputs out, and what the host has left to
// do. Nothing here knows Node or a browser; open.mjs beside it, and ../browser/worker.mjs, bring the libraries.

const BATCH = 16;

/** The manifest's graph of one precision ("fp32", "int8", …); null takes the first. */
export function chooseGraph(manifest, precision = null) {
  if (manifest.format !== 1) throw new Error(`bundle format ${manifest.format}; this program reads 1`);
  const name = precision ?? Object.keys(manifest.graphs)[0];
  const graph = manifest.graphs[name];
  if (!graph) throw new Error(`no ${name} graph; the bundle has ${Object.keys(manifest.graphs).join(", ")}`);
  return [name, graph];
}

/** Scale a vector to length 1, as the graph does. */
export function normalize(vector) {
  const norm = Math.max(Math.hypot(...vector), 1e-12);
  return vector.map((value) => value / norm);
}

/** Shorten a Matryoshka vector: cut, then normalise again if the model normalises. */
export function shorten(vector, dimensions, normalised = true) {
  const cut = vector.slice(0, dimensions);
  return normalised ? normalize(cut) : cut;
}

/** Similarity of two vectors under the name that the checkpoint gives it; larger is always nearer. */
export const SIMILARITY = {
  dot: (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0),
  cosine: (a, b) => SIMILARITY.dot(normalize(a), normalize(b)),
  euclidean: (a, b) => -Math.hypot(...a.map((value, i) => value - b[i])),
  manhattan: (a, b) => -a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0),
};

export class Bundle {
  /**
   * @param {object} parts
   * @param {object} parts.manifest pool_export.json
   * @param {object} parts.graph the manifest's entry of the graph that is open
   * @param {object} parts.session InferenceSession of onnxruntime-node or onnxruntime-web
   * @param {object} parts.tokenizer Tokenizer of @huggingface/tokenizers
   * @param {Function} parts.Tensor of the same onnxruntime
   */
  constructor({ manifest, graph, session, tokenizer, Tensor }) {
    Object.assign(this, { manifest, session, tokenizer, Tensor });
    this.policy = manifest.tokenizer;
    this.shapes = Object.fromEntries(graph.outputs.map(({ name, shape }) => [name, shape]));
  }

  /**
   * Token ids of a text or a pair. Over-long input is an error unless truncate is set.
   * @returns {{ids: number[], typeIds: number[], unpooled: number}} unpooled: leading tokens that stay out of pooling
   */
  encode(text, { pair = null, unpooled = "", truncate = false } = {}) {
    const found = this.tokenizer.encode(text, { text_pair: pair, return_token_type_ids: true });
    let [ids, typeIds] = [found.ids, found.token_type_ids ?? found.ids.map(() => 0)];
    const limit = this.policy.max_length;
    if (ids.length > limit) {
      if (!truncate || pair !== null) throw new Error(`${ids.length} tokens; the model takes ${limit}`);
      const end = this.#closing(text, ids);
      ids = [...ids.slice(0, limit - end), ...ids.slice(ids.length - end)];
      typeIds = typeIds.slice(0, limit);
    }
    return { ids, typeIds, unpooled: unpooled ? this.#promptLength(unpooled) : 0 };
  }

  /** How many special tokens end a text: what stands behind its own tokens. */
  #closing(text, ids) {
    const own = this.tokenizer.encode(text, { add_special_tokens: false }).ids;
    const spare = ids.length - own.length;
    for (let first = 0; first <= spare; first++) {
      if (own.every((id, i) => ids[first + i] === id)) return spare - first;
    }
    throw new Error("the special tokens are not around the text: it cannot be cut here");
  }

  /** Tokens of a prompt alone, less the special token that ends it: the rule of sentence-transformers. */
  #promptLength(prompt) {
    const { ids } = this.tokenizer.encode(prompt);
    return ids.length - (this.#closing(prompt, ids) > 0 ? 1 : 0);
  }

  /** Run encoded texts in batches; one {name: {data, dims}} a text, without padding and the batch axis. */
  async run(encoded, names) {
    const order = [...encoded.keys()].sort((a, b) => encoded[a].ids.length - encoded[b].ids.length);
    const rows = new Array(encoded.length);
    for (let start = 0; start < order.length; start += BATCH) {
      const batch = order.slice(start, start + BATCH);
      const outputs = await this.session.run(this.#feeds(batch.map((index) => encoded[index])), names);
      batch.forEach((index, row) => {
        rows[index] = Object.fromEntries(
          names.map((name) => [name, this.#rowOf(outputs[name], name, row, encoded[index].ids.length)]),
        );
      });
    }
    return rows;
  }

  #feeds(batch) {
    const padAll = this.policy.pad_to_max_length; // SigLIP attends to its padding
    const width = padAll ? this.policy.max_length : Math.max(...batch.map(({ ids }) => ids.length));
    const tensor = (value) => {
      const flat = batch.flatMap((item) => Array.from({ length: width }, (_, at) => BigInt(value(item, at))));
      return new this.Tensor("int64", BigInt64Array.from(flat), [batch.length, width]);
    };
    const values = {
      input_ids: ({ ids }, at) => ids[at] ?? this.policy.pad_token_id,
      attention_mask: ({ ids }, at) => padAll || at < ids.length,
      token_type_ids: ({ typeIds }, at) => typeIds[at] ?? 0,
      pooling_mask: ({ ids, unpooled }, at) => at >= unpooled && at < ids.length,
    };
    const unknown = this.session.inputNames.filter((name) => !(name in values));
    if (unknown.length) throw new Error(`the graph wants inputs this program does not know: ${unknown.join(", ")}`);
    return Object.fromEntries(this.session.inputNames.map((name) => [name, tensor(values[name])]));
  }

  /** One text's part of a batch's output: a vector, or the rows of its own tokens (padding is on the right). */
  #rowOf({ data, dims }, name, row, length) {
    const size = data.length / dims[0];
    const perToken = this.shapes[name].includes("sequence_length");
    const end = perToken ? (size / dims[1]) * length : size;
    return { data: data.subarray(row * size, row * size + end), dims: perToken ? [length, ...dims.slice(2)] : dims.slice(1) };
  }

  #require(output) {
    if (!this.session.outputNames.includes(output) || this.shapes[output].includes("sequence_length")) {
      throw new Error(`this needs ${output} of a whole text; the graph has ${this.session.outputNames.join(", ")}`);
    }
  }

  /** The text that goes before every text: of a name out of manifest.tokenizer.prompts; null is the model's default. */
  #prompt(name) {
    const { prompts, default_prompt_name: usual } = this.policy;
    const text = (name ?? usual) ? prompts[name ?? usual] : "";
    if (text === undefined) throw new Error(`no prompt ${name}; there are: ${Object.keys(prompts).join(", ")}`);
    return text;
  }

  /** The size of a vector: asked for, else the model's default; only sizes that it was trained for. */
  #size(dimensions) {
    const { dimensions: usual, embedding_size: full, is_matryoshka, matryoshka_dimensions: sizes } = this.manifest.pooling;
    const size = dimensions ?? usual ?? full;
    const trained = size === full || size === usual || sizes.includes(size);
    if (trained || (is_matryoshka && !sizes.length && size < full)) return size;
    throw new Error(`the model was not trained for ${size} dimensions, but for ${[...sizes, full].join(", ")}`);
  }

  /** Vectors of texts, with the prompt of a name and so many dimensions. */
  async embed(texts, { prompt = null, dimensions = null, truncate = false } = {}) {
    this.#require("sentence_embedding");
    const [before, size] = [this.#prompt(prompt), this.#size(dimensions)];
    const { include_prompt: pooled, use_activation: normalised } = this.manifest.pooling;
    const unpooled = pooled ? "" : before;
    const encoded = texts.map((text) => this.encode(before + text, { unpooled, truncate }));
    const vectors = (await this.run(encoded, ["sentence_embedding"])).map((row) => Array.from(row.sentence_embedding.data));
    return vectors.map((vector) => (size < vector.length ? shorten(vector, size, normalised) : vector));
  }

  /** Raw logits and activated probabilities of texts (or of [text, pair]), with the label of the largest. */
  async classify(texts) {
    this.#require("probs");
    const encoded = texts.map((text) => (Array.isArray(text) ? this.encode(text[0], { pair: text[1] }) : this.encode(text)));
    const rows = await this.run(encoded, ["logits", "probs"]);
    return rows.map(({ logits, probs }) => {
      const best = probs.data.indexOf(Math.max(...probs.data));
      const label = this.manifest.pooling.labels[best] ?? `LABEL_${best}`;
      return { label, probs: Array.from(probs.data), logits: Array.from(logits.data) };
    });
  }

  /** Score documents against a query: a cross-encoder reads each pair, an embedder compares vectors. */
  async score(query, documents) {
    const { convert, num_labels: labels, pair_format: format } = this.manifest.pooling;
    if (convert === "embed") {
      const [first, ...others] = await this.embed([query, ...documents]);
      const compare = SIMILARITY[this.manifest.similarity ?? "cosine"];
      return others.map((vector) => compare(first, vector));
    }
    if (convert !== "classify" || labels !== 1) throw new Error("this model does not score: it has no single label");
    if (this.policy.score_template) throw new Error("a score template makes one text of a pair; render it first");
    const pairs = documents.map((text) => (format === "concat" ? query + text : [query, text]));
    return (await this.classify(pairs)).map(({ probs }) => probs[0]);
  }
}
