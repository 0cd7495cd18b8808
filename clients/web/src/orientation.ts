/** The orientation of an image from its EXIF or XMP metadata, read as Pillow reads it: damaged metadata gives none. */

import { latin1 } from "./bytes.js";

const EXIF_PREFIX = "Exif\0\0";

/** Bytes of one value by TIFF type; Pillow ignores types that are not here. */
const TYPE_BYTES: Readonly<Record<number, number>> = {
  1: 1, 2: 1, 6: 1, 7: 1, 3: 2, 8: 2, 4: 4, 9: 4, 11: 4, 13: 4, 5: 8, 10: 8, 12: 8, 16: 8,
}; // prettier-ignore
const WHOLE_TYPES = [3, 4, 6, 8, 9, 13];
const ORIENTATION = 0x0112;

/** A TIFF structure in memory, of either byte order; reading beyond its end gives undefined. */
class TiffReader {
  constructor(
    private readonly data: Uint8Array,
    readonly little: boolean,
  ) {}

  get size(): number {
    return this.data.length;
  }

  number(at: number, bytes: number): number | undefined {
    if (at + bytes > this.data.length) return undefined;
    let value = 0;
    for (let place = 0; place < bytes; place++) {
      value = value * 256 + this.data[at + (this.little ? bytes - 1 - place : place)]!;
    }
    return value;
  }
}

/** The first value of a field of a whole type; 0 for other types and for values that are no orientation. */
function wholeValue(tiff: TiffReader, type: number, at: number): number {
  const bytes = type === 16 ? 8 : WHOLE_TYPES.includes(type) ? TYPE_BYTES[type]! : 0;
  const value = bytes === 0 ? 0 : tiff.number(at, bytes);
  return value !== undefined && value <= 8 ? value : 0;
}

/** What EXIF data says, undefined without an orientation, null if it is damaged; then XMP is not asked either. */
function exifOrientation(data: Uint8Array): number | undefined | null {
  for (let times = 0; times < 2 && latin1(data.subarray(0, 6)) === EXIF_PREFIX; times++) data = data.subarray(6);
  if (data.length === 0) return undefined;
  const mark = latin1(data.subarray(0, 4));
  const tiff = new TiffReader(data, mark.startsWith("II"));
  const directory = tiff.number(4, 4);
  if (!["II*\0", "MM\0*", "II\0*", "MM*\0"].includes(mark) || directory === undefined) return null;
  const count = tiff.number(directory, 2) ?? 0;
  let total = 0;
  for (let entry = 0; entry < count; entry++) {
    const at = directory + 2 + entry * 12;
    const [tag, type] = [tiff.number(at, 2), tiff.number(at + 2, 2)];
    const [length, place] = [tiff.number(at + 4, 4), tiff.number(at + 8, 4)];
    // Where the directory is cut off, what was read before it counts.
    if (tag === undefined || type === undefined || length === undefined || place === undefined) break;
    const size = length * (TYPE_BYTES[type] ?? 0);
    let where = at + 8;
    if (size > 4) {
      total += size;
      if (total > tiff.size) continue;
      where = place;
      if (where + size > tiff.size) break;
    }
    if (size > 0 && tag === ORIENTATION) return wholeValue(tiff, type, where);
  }
  return undefined;
}

/** The orientation in an XMP document, 0 if there is none: the first `tiff:Orientation="6"` or `tiff:Orientation>6`. */
function xmpOrientation(xmp: string): number {
  const found = /tiff:Orientation(?:="|>)([0-9])/.exec(xmp);
  return found ? Number(found[1]) : 0;
}

/** The orientation by both, as Pillow does: XMP counts only if there is no orientation in the EXIF data. */
export function orientationOf(exif: Uint8Array | undefined, xmp: string): number {
  const found = exif && exifOrientation(exif);
  return found === null ? 0 : (found ?? xmpOrientation(xmp));
}
