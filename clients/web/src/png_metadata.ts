/** The metadata of a PNG file that can hold an orientation: eXIf, XMP, and ImageMagick's raw profile. */

import { latin1 } from "./bytes.js";
import { inflatedWhole, InflateError } from "./inflate.js";
import { orientationOf } from "./orientation.js";

const MAX_TEXT_BYTES = 2 ** 20;
const XMP_KEY = "XML:com.adobe.xmp";
const PROFILE_KEY = "Raw profile type exif";

interface Text {
  readonly key: string;
  readonly compressed: boolean;
  readonly body: Uint8Array;
}

/**
 * The orientation by all metadata, as Pillow reads it; 0 without one.
 * Throws InflateError for a text for which Pillow refuses the file.
 */
export async function orientationOfTexts(chunks: readonly { kind: string; body: Uint8Array }[]): Promise<number> {
  let exif: Uint8Array | undefined;
  let [profile, xmp]: [string | undefined, string] = [undefined, ""];
  for (const { kind, body } of chunks) {
    if (kind === "eXIf") exif = body;
    const text = textOf(kind, body);
    if (text === undefined) continue;
    const content = text.compressed ? await contentOf(text.body) : latin1(text.body);
    if (content === undefined) continue;
    if (text.key === XMP_KEY) xmp = content;
    else profile = content;
  }
  if (exif === undefined && profile !== undefined) {
    exif = bytesOfProfile(profile);
    if (exif === undefined) return 0; // as Pillow, which asks no other metadata if this one is damaged
  }
  return orientationOf(exif, xmp);
}

/** The parts of a text chunk: tEXt is key, 0, text; zTXt has a method before a compressed text; iTXt has more fields. */
function textOf(kind: string, body: Uint8Array): Text | undefined {
  const end = body.indexOf(0);
  if (!["tEXt", "zTXt", "iTXt"].includes(kind) || end < 0) return undefined;
  const key = latin1(body.subarray(0, end));
  if (kind === "zTXt" && end + 1 < body.length && body[end + 1] !== 0) {
    throw new InflateError("unknown compression of a text");
  }
  if (key !== XMP_KEY && key !== PROFILE_KEY) return undefined;
  const rest = body.subarray(end + 1);
  if (kind === "tEXt") return { key, compressed: false, body: rest };
  if (kind === "zTXt") return rest.length ? { key, compressed: true, body: rest.subarray(1) } : undefined;
  const language = rest.indexOf(0, 2);
  const translated = language < 0 ? -1 : rest.indexOf(0, language + 1);
  if (rest.length < 2 || (rest[0] !== 0 && rest[1] !== 0) || translated < 0) return undefined;
  return { key, compressed: rest[0] !== 0, body: rest.subarray(translated + 1) };
}

/** A compressed text; undefined if it is damaged. */
async function contentOf(body: Uint8Array): Promise<string | undefined> {
  try {
    return latin1(await inflatedWhole(body, "deflate", MAX_TEXT_BYTES));
  } catch (error) {
    if (error instanceof InflateError && !error.message.includes("more than")) return undefined;
    throw error;
  }
}

/** The bytes of a raw profile (an empty line, a name, a length, hexadecimal digits); undefined if it is damaged. */
function bytesOfProfile(text: string): Uint8Array | undefined {
  const lines = text.split("\n");
  if (lines.length < 4) return new Uint8Array();
  const digits = lines.slice(3).join("").replaceAll(" ", "");
  if (digits.length % 2 !== 0 || /[^0-9a-fA-F]/.test(digits)) return undefined;
  return Uint8Array.from({ length: digits.length / 2 }, (_, at) => parseInt(digits.slice(2 * at, 2 * at + 2), 16));
}
