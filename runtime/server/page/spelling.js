// Tokens as a reader knows them. Byte-level tokenizers (GPT-2's) write each byte as a letter, a space as "Ġ".

const SPACE = "␣";

/** GPT-2's table from letters back to bytes: printable Latin-1 stands for itself, the rest follows from U+0100. */
function bytesByLetter() {
  const bytes = new Map();
  const isOwn = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 255 && byte !== 173);
  let next = 256;
  for (let byte = 0; byte < 256; byte += 1) {
    bytes.set(String.fromCodePoint(isOwn(byte) ? byte : next), byte);
    if (!isOwn(byte)) next += 1;
  }
  return bytes;
}

const BYTES = bytesByLetter();
const UTF8 = new TextDecoder("utf-8", { fatal: true });

function decoded(token) {
  const bytes = [...token].map((letter) => BYTES.get(letter));
  if (bytes.includes(undefined)) return token; // an added token, which is written as it is
  try {
    return UTF8.decode(Uint8Array.from(bytes));
  } catch {
    return bytes.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join(""); // a part of a letter
  }
}

export function readable(tokens) {
  const isByteLevel = tokens.some((token) => /[ĠĊ]/.test(token));
  return tokens.map((token) => (isByteLevel ? decoded(token) : token).replaceAll(/[ ▁]/g, SPACE) || token);
}
