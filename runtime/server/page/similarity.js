// Similarity of two vectors as the checkpoint declares it; distances are negated, so that more is always nearer.

function sum(a, b, term) {
  let total = 0;
  for (let index = 0; index < a.length; index += 1) total += term(a[index], b[index]);
  return total;
}

const dot = (a, b) => sum(a, b, (x, y) => x * y);

function cosine(a, b) {
  const norms = Math.sqrt(dot(a, a) * dot(b, b));
  return norms > 0 ? dot(a, b) / norms : 0;
}

export const SIMILARITIES = {
  cosine,
  dot,
  euclidean: (a, b) => -Math.sqrt(sum(a, b, (x, y) => (x - y) ** 2)),
  manhattan: (a, b) => -sum(a, b, (x, y) => Math.abs(x - y)),
};

/** Every vector with every vector; symmetric, so half is computed. */
export function matrix(vectors, name) {
  const similar = SIMILARITIES[name];
  const rows = vectors.map(() => new Array(vectors.length));
  vectors.forEach((vector, row) => {
    for (let column = row; column < vectors.length; column += 1) {
      rows[row][column] = similar(vector, vectors[column]);
      rows[column][row] = rows[row][column];
    }
  });
  return rows;
}

export function nearestPairs(rows) {
  const pairs = [];
  rows.forEach((row, first) => {
    for (let second = first + 1; second < rows.length; second += 1) pairs.push({ first, second, value: row[second] });
  });
  return pairs.sort((a, b) => b.value - a.value);
}
