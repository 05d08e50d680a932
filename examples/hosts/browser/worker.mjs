// The model in a thread of its own: opens the bundle, indexes texts, searches, replays golden.json.

import * as ort from "./vendor/ort.wasm.bundle.min.mjs";
import { Tokenizer } from "./vendor/tokenizers.min.mjs";
import { Bundle, SIMILARITY, chooseGraph } from "./bundle.mjs";
import { replay } from "./replay.mjs";

const CHUNK = 16;
const ROOT = new URL("./bundle/", import.meta.url);

ort.env.wasm.wasmPaths = { wasm: new URL("./vendor/ort-wasm-simd-threaded.wasm", import.meta.url).href };
// More threads need shared memory, which a page has only with COOP and COEP headers.
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;

let [bundle, precision] = [null, "fp32"];
let [texts, vectors] = [[], []];

async function fetched(name) {
  const answer = await fetch(new URL(name, ROOT));
  if (!answer.ok) throw new Error(`${name}: HTTP ${answer.status}; build the page again (README.md)`);
  return answer;
}

const json = async (name) => (await fetched(name)).json();
const bytes = async (name) => new Uint8Array(await (await fetched(name)).arrayBuffer());

/** A cross-encoder reads query and text together, so there is nothing to index. */
const isEmbedder = () => bundle.manifest.pooling.convert === "embed";

const OPERATIONS = {
  /** Open the wanted graph, else the int8 one, else the first. */
  async open({ wanted }) {
    const manifest = await json("pool_export.json");
    const [name, graph] = chooseGraph(manifest, wanted ?? (manifest.graphs.int8 ? "int8" : null));
    const [model, ...external] = graph.files.map(({ path }) => path);
    const externalData = await Promise.all(
      external.map(async (path) => ({ path: path.split("/").at(-1), data: await bytes(path) })),
    );
    const options = { executionProviders: ["wasm"], externalData };
    const session = await ort.InferenceSession.create(await bytes(model), options);
    const tokenizer = new Tokenizer(await json("tokenizer.json"), await json("tokenizer_config.json"));
    precision = name;
    bundle = new Bundle({ manifest, graph, session, tokenizer, Tensor: ort.Tensor });
    const { source, pooling } = manifest;
    const { convert, embedding_size: size } = pooling;
    return { model: source.id, precision, convert, size, threads: ort.env.wasm.numThreads };
  },

  /** Make the vectors of texts, telling how far it is. */
  async index({ lines }, tell) {
    [texts, vectors] = [lines, []];
    const started = performance.now();
    for (let at = 0; isEmbedder() && at < texts.length; at += CHUNK) {
      vectors.push(...(await bundle.embed(texts.slice(at, at + CHUNK), { truncate: true })));
      tell({ done: vectors.length, total: texts.length });
    }
    return { count: texts.length, ms: isEmbedder() ? performance.now() - started : null };
  },

  async search({ query, count }) {
    const started = performance.now();
    let scores;
    if (isEmbedder()) {
      // The query's prompt, where the model has one of that name; texts were indexed with the model's default.
      const prompt = "query" in bundle.policy.prompts ? "query" : null;
      const [vector] = await bundle.embed([query], { prompt, truncate: true });
      const compare = SIMILARITY[bundle.manifest.similarity ?? "cosine"];
      scores = vectors.map((other) => compare(vector, other));
    } else {
      scores = await bundle.score(query, texts, { truncate: true });
    }
    const best = [...scores.keys()].sort((a, b) => scores[b] - scores[a]).slice(0, count);
    return {
      ms: performance.now() - started,
      hits: best.map((index) => ({ index, text: texts[index], score: scores[index] })),
    };
  },

  async check() {
    return replay(bundle, await json("golden.json"), precision);
  },
};

self.onmessage = async ({ data: { id, operation, ...values } }) => {
  try {
    const answer = await OPERATIONS[operation](values, (progress) => self.postMessage({ id, progress }));
    self.postMessage({ id, answer });
  } catch (error) {
    self.postMessage({ id, fault: error.message });
  }
};
