/** Encoded images of any kind to upright RGB pixels. */

import { ImageError } from "./error.js";
import { isJpeg, plainJpeg } from "./jpeg.js";
import { MAX_PIXELS, requirePixels, type RgbImage, upright } from "./pixels.js";
import { decodePng, isPng } from "./png.js";
import { isWebp, plainWebp } from "./webp.js";

/** Bytes of the largest encoded image. */
export const MAX_ENCODED_BYTES = 2 ** 28;

/** The platform's own decoder, such as `browserPixels`. It throws anything for an image that it cannot decode. */
export type PlatformDecoder = (data: Uint8Array<ArrayBuffer>, require: SizeCheck) => Promise<RgbImage>;

/** Called with the size of an image before memory is taken for its pixels. */
export type SizeCheck = (width: number, height: number) => void;

/** Throws ImageError for an encoded image of more bytes than are read. */
export function requireEncodedSize(name: string, bytes: number): void {
  if (bytes > MAX_ENCODED_BYTES) {
    throw new ImageError(
      `${name} has more than ${MAX_ENCODED_BYTES} bytes, the limit for an encoded image; make it smaller first`,
    );
  }
}

/**
 * Decodes an image and turns it upright. `name` is for messages; `maxPixels` limits width times height.
 *
 * PNG is decoded by this library; the pixels of JPEG, WebP and other formats by `platform`.
 *
 * Throws ImageError, which names the image, if it is empty, damaged, incomplete, too large or in no known format.
 */
export async function decodeImage(
  data: Uint8Array<ArrayBuffer>,
  name: string,
  platform: PlatformDecoder,
  maxPixels = MAX_PIXELS,
): Promise<RgbImage> {
  if (data.length === 0) {
    throw new ImageError(`${name} is empty: no bytes to read an image from; give the whole file, from its start`);
  }
  requireEncodedSize(name, data.length);
  if (isPng(data)) return decodePng(data, name, maxPixels);
  const require: SizeCheck = (width, height) => requirePixels(name, width, height, maxPixels);
  const refusal = `${name} is damaged or incomplete: this browser does not decode it; get or save it again`;
  if (isJpeg(data)) {
    const plain = plainJpeg(data, name);
    require(plain.width, plain.height);
    return upright(await decoded(plain.bytes, platform, require, refusal), plain.orientation);
  }
  if (isWebp(data)) {
    const plain = plainWebp(data, name);
    return upright(await decoded(plain.bytes, platform, require, refusal), plain.orientation);
  }
  const unknown = `${name} is not an image in a format that this browser reads; save it as PNG or JPEG`;
  return decoded(data, platform, require, unknown);
}

async function decoded(
  data: Uint8Array<ArrayBuffer>,
  platform: PlatformDecoder,
  require: SizeCheck,
  refusal: string,
): Promise<RgbImage> {
  try {
    return await platform(data, require);
  } catch (error) {
    throw error instanceof ImageError ? error : new ImageError(refusal);
  }
}
