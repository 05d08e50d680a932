// Replay golden.json: this host's token ids and outputs beside the reference's.

/** An output as golden.json states it: nested lists, or the non-zero entries of a long vector. */
function dense(stated) {
  if (Array.isArray(stated)) return stated.flat(Infinity);
  const vector = new Array(stated.size).fill(0);
  stated.indices.forEach((at, i) => (vector[at] = stated.values[i]));
  return vector;
}

/** Largest difference (relative above magnitude 1) and cosine; [Infinity, -1] where nothing can be compared. */
function compare(want, got) {
  if (want.length !== got.length) return [Infinity, -1];
  let [gap, dot, left, right] = [0, 0, 0, 0];
  want.forEach((value, i) => {
    // NaN would pass every comparison.
    gap = Math.max(gap, Number.isFinite(got[i]) ? Math.abs(value - got[i]) / Math.max(1, Math.abs(value)) : Infinity);
    dot += value * got[i];
    left += value * value;
    right += got[i] * got[i];
  });
  const norms = Math.sqrt(left * right);
  return [gap, want.length === 1 || norms === 0 ? 1 : dot / norms]; // one number has no direction
}

/** Correlation of two lists: how single numbers are judged where the tolerance names no difference. */
function correlation(left, right) {
  const centred = (list) => list.map((value) => value - list.reduce((sum, x) => sum + x, 0) / list.length);
  return compare(centred(left), centred(right))[1];
}

/** Token ids of one case beside the reference's: what differs, in words. */
function idFaults(bundle, stated) {
  const { pair, unpooled } = stated;
  const found = bundle.encode(stated.text, { pair, unpooled, truncate: Boolean(stated.truncated) });
  const faults = [];
  if (`${found.ids}` !== `${stated.input_ids}`) faults.push(`token ids differ: ${found.ids}`);
  // Segment ids count only where the graph reads them.
  const segments = bundle.session.inputNames.includes("token_type_ids");
  const differ = segments && `${found.typeIds}` !== `${stated.token_type_ids}`;
  if (differ) faults.push(`segment ids differ: ${found.typeIds}`);
  if (found.unpooled !== hiddenTokens(stated)) faults.push(`prompt lengths differ: ${found.unpooled}`);
  return faults;
}

const hiddenTokens = (stated) => (stated.pooling_mask ?? []).filter((value) => value === 0).length;

/**
 * @param {import("./bundle.mjs").Bundle} bundle
 * @param {object} golden golden.json
 * @param {string} precision of the open graph, for its own tolerance
 * @returns {Promise<{cases: number, pairs: number, images: number, gap: number, cosine: number, failures: string[]}>}
 */
export async function replay(bundle, golden, precision = "fp32") {
  if (golden.format !== 1 || !golden.cases?.length) throw new Error("golden.json is not of format 1, or has no case");
  const { max_abs: maxAbs, min_cosine: minCosine } = golden.tolerances?.[precision] ?? golden.tolerance;
  const report = { cases: 0, pairs: 0, images: golden.images?.length ?? 0, gap: 0, cosine: 1, failures: [] };
  const single = { want: [], got: [] };
  for (const [index, stated] of golden.cases.entries()) {
    const shown = `case ${index} ${JSON.stringify(stated.text.slice(0, 30))}`;
    idFaults(bundle, stated).forEach((fault) => report.failures.push(`${shown}: ${fault}`));
    const names = Object.keys(stated.outputs);
    const given = { ids: stated.input_ids, typeIds: stated.token_type_ids, unpooled: hiddenTokens(stated) };
    const [outputs] = await bundle.run([given], names);
    for (const name of names) {
      const [want, got] = [dense(stated.outputs[name]), Array.from(outputs[name].data)];
      const [gap, cosine] = compare(want, got);
      if (want.length === 1) [single.want, single.got] = [[...single.want, ...want], [...single.got, ...got]];
      report.gap = Math.max(report.gap, gap);
      report.cosine = Math.min(report.cosine, cosine);
      // Not "gap > maxAbs": a NaN or a missing number must fail.
      if (!(gap <= (maxAbs ?? Number.MAX_VALUE)) || !(cosine >= minCosine)) {
        report.failures.push(`${shown}: ${name} differs by ${gap.toExponential(2)} (cosine ${cosine.toFixed(6)})`);
      }
    }
    report.cases += 1;
    report.pairs += stated.pair === null ? 0 : 1;
  }
  if (maxAbs === null && single.want.length > 1 && !(correlation(single.want, single.got) >= minCosine)) {
    report.failures.push(`scores correlate by ${correlation(single.want, single.got).toFixed(6)} only`);
  }
  return report;
}
