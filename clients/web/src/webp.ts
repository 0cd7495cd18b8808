/**
 * WebP images: the browser decodes the pixels of a copy without metadata and colour profile, as with JPEG. Browsers differ
 * in whether they turn such images.
 *
 * The format: https://developers.google.com/speed/webp/docs/riff_container
 */

import { joined, latin1 } from "./bytes.js";
import { ImageError } from "./error.js";
import { orientationOf } from "./orientation.js";

const METADATA = ["EXIF", "XMP ", "ICCP"];
/** Bits of the extended header that announce a colour profile, EXIF data and XMP data. */
const ANNOUNCED = 0x20 | 0x08 | 0x04;

/** `bytes`: the image without its metadata. `orientation`: of its EXIF or XMP data, 0 without one. */
export interface PlainWebp {
  readonly orientation: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export function isWebp(data: Uint8Array): boolean {
  return latin1(data.subarray(0, 4)) === "RIFF" && latin1(data.subarray(8, 12)) === "WEBP";
}

/** Reads the chunks of a WebP. Throws ImageError, which names the image, if it is incomplete. */
export function plainWebp(data: Uint8Array, name: string): PlainWebp {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const end = data.length < 12 ? Infinity : 8 + view.getUint32(4, true);
  const kept: Uint8Array[] = [];
  let exif: Uint8Array | undefined;
  let xmp = "";
  let at = 12;
  while (at + 8 <= end && end <= data.length) {
    const kind = latin1(data.subarray(at, at + 4));
    const size = view.getUint32(at + 4, true);
    if (at + 8 + size > end) break;
    const body = data.subarray(at + 8, at + 8 + size);
    const next = Math.min(at + 8 + size + (size % 2), end);
    if (kind === "EXIF") exif = body;
    if (kind === "XMP ") xmp = latin1(body);
    const chunk = data.slice(at, next);
    if (kind === "VP8X" && size > 0) chunk[8] = chunk[8]! & ~ANNOUNCED;
    if (!METADATA.includes(kind)) kept.push(chunk);
    at = next;
  }
  if (at !== end || kept.length === 0) {
    throw new ImageError(`${name} is damaged or incomplete: image file is truncated; get or save it again`);
  }
  const bytes = joined([data.subarray(0, 12), ...kept]);
  new DataView(bytes.buffer).setUint32(4, bytes.length - 8, true);
  return { orientation: orientationOf(exif, xmp), bytes };
}
