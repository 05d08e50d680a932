// Open a bundle's folder in Node.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { Tokenizer } from "@huggingface/tokenizers";
import { InferenceSession, Tensor } from "onnxruntime-node";

import { Bundle, chooseGraph } from "./bundle.mjs";

/** Read one of the bundle's JSON files. */
export async function readJson(folder, name) {
  return JSON.parse(await readFile(join(folder, name), "utf8"));
}

/** Open the graph of one precision ("fp32", "int8", …; null takes the first) and the tokenizer. */
export async function openBundle(folder, precision = null) {
  const manifest = await readJson(folder, "pool_export.json");
  const [, graph] = chooseGraph(manifest, precision);
  // By its path, so that onnxruntime finds external data (model.onnx_data) beside it.
  const session = await InferenceSession.create(join(folder, graph.files[0].path));
  const tokenizer = new Tokenizer(
    await readJson(folder, "tokenizer.json"),
    await readJson(folder, "tokenizer_config.json"),
  );
  return new Bundle({ manifest, graph, session, tokenizer, Tensor });
}
