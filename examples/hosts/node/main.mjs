// node main.mjs embed|classify|score|replay BUNDLE …; see README.md.

import { parseArgs } from "node:util";

import { openBundle, readJson } from "./open.mjs";
import { replay } from "./replay.mjs";

const USAGE = `node main.mjs embed    BUNDLE TEXT…              [--prompt NAME] [--dimensions N]
node main.mjs classify BUNDLE TEXT…
node main.mjs score    BUNDLE QUERY DOCUMENT…
node main.mjs replay   BUNDLE
                                                   [--truncate] [--precision fp32|fp16|int8]`;

const COMMANDS = {
  async embed(bundle, texts, { prompt, dimensions, truncate }) {
    const size = dimensions === undefined ? null : Number(dimensions);
    if (size !== null && !(size > 0)) throw new Error(`--dimensions wants a number above 0, got ${dimensions}`);
    const vectors = await bundle.embed(texts, { prompt, dimensions: size, truncate });
    vectors.forEach((vector) => console.log(JSON.stringify(vector)));
  },
  async classify(bundle, texts, { truncate }) {
    (await bundle.classify(texts, { truncate })).forEach((answer) => console.log(JSON.stringify(answer)));
  },
  async score(bundle, [query, ...documents], { truncate }) {
    const scores = await bundle.score(query, documents, { truncate });
    scores.forEach((score, i) => console.log(`${score.toFixed(6)}\t${documents[i]}`));
  },
  async replay(bundle, _, { precision }, folder) {
    const golden = await readJson(folder, "golden.json");
    const { cases, pairs, images, gap, cosine, failures } = await replay(bundle, golden, precision);
    failures.forEach((line) => console.error(line));
    if (images) console.error(`${images} images not replayed: this program reads texts`);
    const figures = `${cases} cases, ${pairs} pairs, max-abs ${gap.toExponential(2)}, min cosine ${cosine.toFixed(7)}`;
    console.log(`${failures.length ? "FAILED" : "passed"}: ${figures}`);
    return failures.length ? 1 : 0;
  },
};

async function main() {
  const options = { prompt: { type: "string" }, dimensions: { type: "string" }, precision: { type: "string" } };
  options.truncate = { type: "boolean" };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [command, folder, ...texts] = positionals;
  const needed = { embed: 1, classify: 1, score: 2, replay: 0 }[command];
  if (needed === undefined || !folder || texts.length < needed) {
    console.error(USAGE);
    return 2;
  }
  return (await COMMANDS[command](await openBundle(folder, values.precision), texts, values, folder)) ?? 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
}
