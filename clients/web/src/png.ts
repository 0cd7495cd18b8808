/**
 * PNG images, decoded here and not by the browser: a canvas loses the colours of transparent pixels and the low byte of
 * 16-bit grey. Converted to RGB as Pillow and onnxzoo/image_reading.py convert them.
 */

import { latin1 } from "./bytes.js";
import { ImageError } from "./error.js";
import { inflated, InflateError } from "./inflate.js";
import { type RgbImage, requirePixels, upright } from "./pixels.js";
import { orientationOfTexts } from "./png_metadata.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const GREY = 0;
const PALETTE = 3;
/** Channels and legal bit depths by colour type. */
const KINDS: Readonly<Record<number, readonly [number, readonly number[]]>> = {
  0: [1, [1, 2, 4, 8, 16]],
  2: [3, [8, 16]],
  3: [1, [1, 2, 4, 8]],
  4: [2, [8, 16]],
  6: [4, [8, 16]],
};
/** Left, top, and distances across and down of the seven images of Adam7. */
const ADAM7 = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]] as const; // prettier-ignore
/** Decompressed bytes that may follow the last row. */
const MAX_SURPLUS = 2 ** 20;
const CRITICAL = ["IHDR", "PLTE", "IDAT", "IEND"];

interface Header {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly type: number;
  readonly channels: number;
  readonly interlaced: boolean;
}

/** One chunk: its name of four letters, and its content. */
export interface Chunk {
  readonly kind: string;
  readonly body: Uint8Array;
}

/** The file is damaged; the message says why. */
class Damaged extends Error {}

export function isPng(data: Uint8Array): boolean {
  return SIGNATURE.every((byte, at) => data[at] === byte);
}

/**
 * Decodes a PNG, the first image of an animated one, and turns it upright. `name` is for messages.
 * Throws ImageError for an image that is damaged, incomplete or larger than `maxPixels`.
 */
export async function decodePng(data: Uint8Array, name: string, maxPixels: number): Promise<RgbImage> {
  try {
    const chunks = chunksOf(data);
    const header = headerOf(chunks);
    requirePixels(name, header.width, header.height, maxPixels);
    const palette = chunks.find(({ kind }) => kind === "PLTE")?.body;
    if (header.type === PALETTE && palette === undefined) throw new Damaged("it has no palette");
    const pixels = await pixelsOf(header, palette, chunks);
    const orientation = await orientationOfTexts(chunks);
    return upright({ width: header.width, height: header.height, pixels }, orientation);
  } catch (error) {
    if (!(error instanceof Damaged || error instanceof InflateError)) throw error;
    throw new ImageError(`${name} is damaged or incomplete: ${error.message}; get or save it again`);
  }
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(data: Uint8Array): number {
  let value = 0xffffffff;
  for (let at = 0; at < data.length; at++) value = CRC_TABLE[(value ^ data[at]!) & 255]! ^ (value >>> 8);
  return ~value >>> 0;
}

function chunksOf(data: Uint8Array): Chunk[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const chunks: Chunk[] = [];
  for (let at = SIGNATURE.length; ; ) {
    if (at + 12 > data.length) throw new Damaged("image file is truncated");
    const length = view.getUint32(at);
    const kind = latin1(data.subarray(at + 4, at + 8));
    if (!/^[A-Za-z]{4}$/.test(kind)) throw new Damaged("a chunk has an invalid name");
    if (length > data.length - at - 12) throw new Damaged("image file is truncated");
    const end = at + 8 + length;
    if (crc32(data.subarray(at + 4, end)) !== view.getUint32(end)) throw new Damaged(`${kind}: CRC error`);
    if (/^[A-Z]/.test(kind) && !CRITICAL.includes(kind)) throw new Damaged(`${kind}: unknown critical chunk`);
    chunks.push({ kind, body: data.subarray(at + 8, end) });
    if (kind === "IEND") return chunks;
    at = end + 4;
  }
}

function headerOf(chunks: readonly Chunk[]): Header {
  const { kind, body } = chunks[0]!;
  if (kind !== "IHDR" || body.length !== 13) throw new Damaged("it does not begin with a header");
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const [depth, type, compression, filter, interlace] = body.subarray(8) as unknown as [number, number, number, number, number];
  const [channels, depths] = KINDS[type] ?? [0, []];
  if (!depths.includes(depth)) throw new Damaged(`colour type ${type} with ${depth} bits is not in PNG`);
  if (compression !== 0 || filter !== 0 || interlace > 1) throw new Damaged("its method of compression is unknown");
  return {
    width: view.getUint32(0), height: view.getUint32(4), depth, type, channels, interlaced: interlace === 1,
  }; // prettier-ignore
}

async function pixelsOf(header: Header, palette: Uint8Array | undefined, chunks: readonly Chunk[]): Promise<Uint8Array> {
  const pixels = new Uint8Array(header.width * header.height * 3);
  const rows = rowsOf(header);
  const bytesPerPixel = Math.max(1, (header.channels * header.depth) >> 3);
  const write = writer(header, palette ?? new Uint8Array(), pixels);
  let row = rows.next();
  let [earlier, current, filled] = [new Uint8Array(), new Uint8Array(), 0];
  const start = (): void => {
    if (row.done) return;
    if (row.value.first) earlier = new Uint8Array(row.value.bytes);
    current = new Uint8Array(row.value.bytes + 1);
    filled = 0;
  };
  start();
  let surplus = 0;
  for await (const part of inflated(chunks.filter(({ kind }) => kind === "IDAT").map(({ body }) => body), "deflate")) {
    for (let at = 0; at < part.length && !row.done; ) {
      const taken = Math.min(current.length - filled, part.length - at);
      current.set(part.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled < current.length) continue;
      const line = current.subarray(1);
      unfilter(current[0]!, line, earlier, bytesPerPixel);
      write(line, row.value);
      earlier = line;
      row = rows.next();
      start();
    }
    if (row.done && (surplus += part.length) > MAX_SURPLUS) throw new Damaged("it has more data than pixels");
  }
  if (!row.done) throw new Damaged("not enough image data");
  return pixels;
}

/** A row of the image, or of a part of an interlaced one; `first`: of its part. */
interface Row {
  readonly left: number;
  readonly y: number;
  readonly step: number;
  readonly count: number;
  readonly bytes: number;
  readonly first: boolean;
}

function* rowsOf(header: Header): Generator<Row, undefined> {
  const parts = header.interlaced ? ADAM7 : ([[0, 0, 1, 1]] as const);
  for (const [left, top, across, down] of parts) {
    const count = Math.ceil((header.width - left) / across);
    if (count <= 0) continue;
    const bytes = Math.ceil((count * header.channels * header.depth) / 8);
    for (let y = top; y < header.height; y += down) {
      yield { left, y, step: across, count, bytes, first: y === top };
    }
  }
}

/** Undoes the filter of a row in place; `earlier`: the row above it. */
function unfilter(kind: number, line: Uint8Array, earlier: Uint8Array, bytesPerPixel: number): void {
  if (kind > 4) throw new Damaged("bad adaptive filter value");
  if (kind === 0) return;
  for (let at = 0; at < line.length; at++) {
    const left = at >= bytesPerPixel ? line[at - bytesPerPixel]! : 0;
    const above = earlier[at]!;
    const corner = at >= bytesPerPixel ? earlier[at - bytesPerPixel]! : 0;
    const guess = kind === 1 ? left : kind === 2 ? above : kind === 3 ? (left + above) >> 1 : paeth(left, above, corner);
    line[at] = line[at]! + guess;
  }
}

function paeth(left: number, above: number, corner: number): number {
  const [far, further, furthest] = [Math.abs(above - corner), Math.abs(left - corner), Math.abs(left + above - 2 * corner)];
  if (far <= further && far <= furthest) return left;
  return further <= furthest ? above : corner;
}

/** A function that writes a row as RGB: alpha is dropped, 16-bit grey is scaled, 16-bit colour is cut to its high byte. */
function writer(header: Header, palette: Uint8Array, pixels: Uint8Array): (line: Uint8Array, row: Row) => void {
  const { depth, type, channels } = header;
  const grey = type === GREY || type === 4;
  const sample = sampler(header);
  return (line, row) => {
    let to = (row.y * header.width + row.left) * 3;
    for (let pixel = 0; pixel < row.count; pixel++, to += row.step * 3) {
      if (type === PALETTE) {
        // Indices beyond the palette are black, as in Pillow.
        const from = sample(line, pixel) * 3;
        for (let channel = 0; channel < 3; channel++) pixels[to + channel] = palette[from + channel] ?? 0;
      } else if (grey) {
        pixels.fill(sample(line, pixel * channels), to, to + 3);
      } else {
        const from = (pixel * channels * depth) >> 3;
        const step = depth >> 3;
        for (let channel = 0; channel < 3; channel++) pixels[to + channel] = line[from + channel * step]!;
      }
    }
  };
}

/** A function that reads sample `at` of a row: a palette's index, or grey scaled to 0..255. */
function sampler({ depth, type, channels }: Header): (line: Uint8Array, at: number) => number {
  if (depth === 8) return (line, at) => line[at]!;
  // Pillow scales 16-bit grey without alpha itself; with alpha, it takes the high byte.
  if (depth === 16 && channels === 2) return (line, at) => line[2 * at]!;
  if (depth === 16) return (line, at) => Math.floor(((line[2 * at]! << 8) + line[2 * at + 1]! + 128) / 257);
  const most = (1 << depth) - 1;
  const scale = type === GREY ? 255 / most : 1;
  return (line, at) => ((line[(at * depth) >> 3]! >> (8 - depth - ((at * depth) & 7))) & most) * scale;
}
