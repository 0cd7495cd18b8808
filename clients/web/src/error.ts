/** Every error that onnxzoo raises, and text that is safe to show on one line. */

/** Base of all errors. `message` says what is wrong, the expected and the actual value, and the fix, in one line. */
export class OnnxzooError extends Error {
  constructor(message: string) {
    super(oneLine(message));
    this.name = new.target.name;
  }
}

/** An image cannot be read; the message names it. */
export class ImageError extends OnnxzooError {}

/** An artifact is incomplete, altered, malformed or unsafe. */
export class ArtifactError extends OnnxzooError {}

/** The engine rejected the model or failed while running it. */
export class EngineError extends OnnxzooError {}

/** An argument has an invalid value. */
export class InputError extends OnnxzooError {}

/** There is no artifact at the given place. */
export class ModelNotFoundError extends OnnxzooError {}

/** A download failed or is incomplete. */
export class DownloadError extends OnnxzooError {}

/** The engine cannot run here, or its results are wrong. */
export class EngineUnavailableError extends OnnxzooError {}

/** The reason of anything that was thrown, in one line. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return oneLine(text.split(/\s+/).filter(Boolean).join(" "));
}

// What Python's str.isprintable refuses, except the joiners within words (onnxzoo/text.py).
const UNPRINTABLE = /(?![ \u200c\u200d])[\p{C}\p{Z}]/gu;
const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** The text with every character that cannot be printed escaped as in Python: `\n`, `\x1b`, `\u202e`. */
export function escaped(text: string): string {
  return text.replace(UNPRINTABLE, (character) => {
    const point = character.codePointAt(0)!;
    const digits = point < 0x100 ? 2 : point < 0x10000 ? 4 : 8;
    return SHORT[character] ?? `\\${{ 2: "x", 4: "u", 8: "U" }[digits]}${point.toString(16).padStart(digits, "0")}`;
  });
}

/** The text in at most `limit` characters; the middle of a longer one is replaced by a note of its length. */
export function shortened(text: string, limit = 500): string {
  const characters = [...text];
  if (characters.length <= limit) return text;
  const gap = ` [... ${characters.length} characters ...] `;
  const room = limit - gap.length;
  const head = Math.round(room * 0.7);
  return characters.slice(0, head).join("") + gap + characters.slice(characters.length - (room - head)).join("");
}

/** A message as one short, printable line. */
export function oneLine(text: string): string {
  return shortened(escaped(text));
}
