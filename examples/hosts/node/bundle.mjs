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

/** How many tokens of each text fit into so many: of two, the shorter is kept whole where it can ("longest_first"). */
function shares(lengths, room) {
  if (lengths.length === 1) return [room];
  const [short, long] = lengths[0] <= lengths[1] ? [0, 1] : [1, 0];
  const kept = [];
  kept[short] = Math.min(lengths[short], Math.floor(room / 2));
  kept[long] = room - kept[short];
  return kept;
}

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
    const found = pair === "" ? this.#withEmptyPair(text) : this.#encoding(text, pair);
    let encoded = { ids: found.ids, typeIds: found.token_type_ids ?? found.ids.map(() => 0) };
    const limit = this.policy.max_length;
    if (found.ids.length > limit) {
      if (!truncate) throw new Error(`${found.ids.length} tokens; the model takes ${limit}`);
      encoded = this.#cut(encoded, pair === null ? [text] : [text, pair]);
    }
    return { ...encoded, unpooled: unpooled ? this.#promptLength(unpooled) : 0 };
  }

  #encoding(text, pair) {
    return this.tokenizer.encode(text, { text_pair: pair, return_token_type_ids: true });
  }

  /** A pair with an empty second text, which the tokenizer takes for no pair: one with a letter, less its tokens. */
  #withEmptyPair(text) {
    const { ids, token_type_ids: types } = this.#encoding(text, "a");
    const [, [start, length]] = this.#places(ids, [text, "a"]);
    const without = (list) => list?.filter((_, i) => i < start || i >= start + length);
    return { ids: without(ids), token_type_ids: without(types) };
  }

  /** Where the own tokens of each text lie among the special ones: [start, length] each. */
  #places(ids, texts) {
    let from = 0;
    return texts.map((text) => {
      const own = this.tokenizer.encode(text, { add_special_tokens: false }).ids;
      const start = ids.findIndex((_, at) => at >= from && own.every((id, i) => ids[at + i] === id));
      if (start < 0) throw new Error("a text's tokens differ beside special tokens: it cannot be cut here");
      from = start + own.length;
      return [start, own.length];
    });
  }

  /** Cut to the model's limit as the reference does: ends go, of the longer text first; special tokens stay. */
  #cut({ ids, typeIds }, texts) {
    const places = this.#places(ids, texts);
    const special = places.reduce((rest, [, length]) => rest - length, ids.length);
    const kept = shares(places.map(([, length]) => length), this.policy.max_length - special);
    const stays = (_, i) => !places.some(([start, length], k) => i >= start + kept[k] && i < start + length);
    return { ids: ids.filter(stays), typeIds: typeIds.filter(stays) };
  }

  /** Tokens of a prompt alone, less the special token that ends it: the rule of sentence-transformers. */
  #promptLength(prompt) {
    const { ids } = this.tokenizer.encode(prompt);
    const [[start, length]] = this.#places(ids, [prompt]);
    return ids.length - (start + length < ids.length ? 1 : 0);
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
    const shape = perToken ? [length, ...dims.slice(2)] : dims.slice(1);
    return { data: data.subarray(row * size, row * size + end), dims: shape };
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
    const { dimensions: usual, embedding_size: full, ...head } = this.manifest.pooling;
    const sizes = head.matryoshka_dimensions;
    const size = dimensions ?? usual ?? full;
    const trained = size === full || size === usual || sizes.includes(size);
    if (trained || (head.is_matryoshka && !sizes.length && size < full)) return size;
    throw new Error(`the model was not trained for ${size} dimensions, but for ${[...sizes, full].join(", ")}`);
  }

  /** Vectors of texts, with the prompt of a name and so many dimensions. */
  async embed(texts, { prompt = null, dimensions = null, truncate = false } = {}) {
    this.#require("sentence_embedding");
    const [before, size] = [this.#prompt(prompt), this.#size(dimensions)];
    const { include_prompt: pooled, use_activation: normalised } = this.manifest.pooling;
    const unpooled = pooled ? "" : before;
    const encoded = texts.map((text) => this.encode(before + text, { unpooled, truncate }));
    const rows = await this.run(encoded, ["sentence_embedding"]);
    const vectors = rows.map((row) => Array.from(row.sentence_embedding.data));
    return vectors.map((vector) => (size < vector.length ? shorten(vector, size, normalised) : vector));
  }

  /** Raw logits and activated probabilities of texts (or of [text, pair]), with the label of the largest. */
  async classify(texts, { truncate = false } = {}) {
    this.#require("probs");
    const encoded = texts.map((text) => {
      const [first, pair] = Array.isArray(text) ? text : [text, null];
      return this.encode(first, { pair, truncate });
    });
    const rows = await this.run(encoded, ["logits", "probs"]);
    return rows.map(({ logits, probs }) => {
      const best = probs.data.indexOf(Math.max(...probs.data));
      const label = this.manifest.pooling.labels[best] ?? `LABEL_${best}`;
      return { label, probs: Array.from(probs.data), logits: Array.from(logits.data) };
    });
  }

  /** Score documents against a query: a cross-encoder reads each pair, an embedder compares vectors. */
  async score(query, documents, { truncate = false } = {}) {
    const { convert, num_labels: labels, pair_format: format } = this.manifest.pooling;
    if (convert === "embed") {
      const [first, ...others] = await this.embed([query, ...documents], { truncate });
      const compare = SIMILARITY[this.manifest.similarity ?? "cosine"];
      return others.map((vector) => compare(first, vector));
    }
    if (convert !== "classify" || labels !== 1) throw new Error("this model does not score: it has no single label");
    if (this.policy.score_template) throw new Error("a score template makes one text of a pair; render it first");
    const pairs = documents.map((text) => (format === "concat" ? query + text : [query, text]));
    return (await this.classify(pairs, { truncate })).map(({ probs }) => probs[0]);
  }
}
