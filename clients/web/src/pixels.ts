/** RGB pixels, and turning them upright. */

import { ImageError } from "./error.js";

/** Width times height of the largest image that is decoded: the limit of onnxzoo/image_memory.py. */
export const MAX_PIXELS = 89_478_485;

/** An image: `pixels` has height x width x 3 bytes, rows from the top, channels R, G, B. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
}

/** Throws ImageError if an image has no pixels, or more than `maxPixels`; before any memory is taken for them. */
export function requirePixels(name: string, width: number, height: number, maxPixels: number): void {
  if (width < 1 || height < 1) throw new ImageError(`${name} has no pixels; expected at least 1 x 1`);
  if (width * height > maxPixels) {
    throw new ImageError(
      `${name} is too large: ${width} x ${height} pixels, the limit is ${maxPixels} in all; make it smaller first`,
    );
  }
}

/** The image turned by an EXIF orientation, 1..8; any other value leaves it as it is. */
export function upright(image: RgbImage, orientation: number): RgbImage {
  if (orientation < 2 || orientation > 8) return image;
  const swapped = orientation >= 5;
  const fromRight = [2, 3, 7, 8].includes(orientation);
  const fromBottom = [3, 4, 6, 7].includes(orientation);
  const [width, height] = swapped ? [image.height, image.width] : [image.width, image.height];
  const from = image.pixels;
  const pixels = new Uint8Array(from.length);
  let to = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [across, down] = swapped ? [y, x] : [x, y];
      const column = fromRight ? image.width - 1 - across : across;
      const row = fromBottom ? image.height - 1 - down : down;
      const at = (row * image.width + column) * 3;
      pixels[to++] = from[at]!;
      pixels[to++] = from[at + 1]!;
      pixels[to++] = from[at + 2]!;
    }
  }
  return { width, height, pixels };
}
