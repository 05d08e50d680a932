// node build.mjs BUNDLE [SITE] [--texts FILE]: put page, libraries, bundle and texts into one folder of static files.

import { copyFile, mkdir, readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const OURS = ["index.html", "style.css", "page.mjs", "worker.mjs", "../node/bundle.mjs", "../node/replay.mjs"];
const VENDOR = [
  "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
  "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
  "@huggingface/tokenizers/dist/tokenizers.min.mjs",
];
const BUNDLE = ["pool_export.json", "tokenizer.json", "tokenizer_config.json", "golden.json"];
const TEXTS = join(HERE, "../../../models_zoo/data/sentences.txt");
// Smaller first: what a browser downloads matters more than the last digit.
const PREFERRED = ["int8", "fp32"];

async function put(from, to) {
  await mkdir(dirname(to), { recursive: true });
  await copyFile(from, to);
}

/** The files of the graphs that the page may open. */
function graphFiles(manifest) {
  const found = PREFERRED.filter((precision) => manifest.graphs[precision]);
  if (!found.length) throw new Error(`wanted a graph of ${PREFERRED}; the bundle has ${Object.keys(manifest.graphs)}`);
  return found.flatMap((precision) => manifest.graphs[precision].files.map((file) => file.path));
}

async function main() {
  const { values, positionals } = parseArgs({ options: { texts: { type: "string" } }, allowPositionals: true });
  const [bundle, site = join(HERE, "site")] = positionals;
  if (!bundle) {
    console.error("node build.mjs BUNDLE [SITE] [--texts FILE]");
    return 2;
  }
  const manifest = JSON.parse(await readFile(join(bundle, "pool_export.json"), "utf8"));
  for (const name of OURS) await put(join(HERE, name), join(site, name.replace("../node/", "")));
  for (const name of VENDOR) await put(join(HERE, "node_modules", name), join(site, "vendor", name.split("/").at(-1)));
  for (const name of [...BUNDLE, ...graphFiles(manifest)]) await put(join(bundle, name), join(site, "bundle", name));
  await put(values.texts ?? TEXTS, join(site, "texts.txt"));
  const { size } = await stat(join(site, "bundle", graphFiles(manifest)[0]));
  console.log(`${site}: serve it with any static server; the graph is ${(size / 1e6).toFixed(1)} MB`);
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
}
