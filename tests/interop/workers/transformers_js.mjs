// transformers.js as a consumer: CONSUMER KIND BUNDLE OUTPUT, as workers/common.py. Run from a folder with its node_modules.
import { readFile, writeFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import {
  AutoModel,
  AutoModelForSequenceClassification,
  AutoTokenizer,
  env,
  pipeline,
} from '@huggingface/transformers';

const BATCH = 16;
const [kind, bundle, output] = process.argv.slice(3);
env.allowRemoteModels = false;
env.localModelPath = dirname(bundle) + '/';
const id = basename(bundle);

const golden = JSON.parse(await readFile(`${bundle}/golden.json`, 'utf-8'));
const cases = golden.cases.map(({ text, pair }, index) => ({ index, text, pair }));
const ways = {};

function add(way, name, { index }, values) {
  ways[way] ??= {};
  ways[way][name] ??= {};
  ways[way][name][index] = values;
}

function* batches() {
  for (const paired of [false, true]) {
    const found = cases.filter((item) => (item.pair !== null) === paired);
    for (let start = 0; start < found.length; start += BATCH) yield found.slice(start, start + BATCH);
  }
}

async function embed() {
  const extractor = await pipeline('feature-extraction', id);
  const model = await AutoModel.from_pretrained(id);
  const tokenizer = await AutoTokenizer.from_pretrained(id);
  for (const batch of batches()) {
    const texts = batch.map((item) => item.text);
    const pooled = (await extractor(texts, { pooling: 'mean', normalize: true })).tolist();
    const whole = await model(tokenizer(texts, { padding: true, truncation: true }));
    const vectors = whole.sentence_embedding.tolist();
    batch.forEach((item, row) => {
      add('pipeline', 'sentence_embedding', item, pooled[row]);
      add('model', 'sentence_embedding', item, vectors[row]);
    });
  }
}

async function classify() {
  const model = await AutoModelForSequenceClassification.from_pretrained(id);
  const tokenizer = await AutoTokenizer.from_pretrained(id);
  for (const batch of batches()) {
    const texts = batch.map((item) => item.text);
    // Only its class BertTokenizer answers segments unasked, and the model is given zeros where there are none.
    const options = { padding: true, truncation: true, return_token_type_ids: true };
    if (batch[0].pair !== null) options.text_pair = batch.map((item) => item.pair);
    const { logits } = await model(tokenizer(texts, options));
    const rows = logits.tolist();
    batch.forEach((item, row) => add('model', 'logits', item, rows[row]));
  }
}

await (kind === 'embed' ? embed() : classify());
await writeFile(output, JSON.stringify({ version: env.version, ways }));
