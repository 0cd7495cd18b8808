/** The evaluation preprocessing of PaddleClas: an image to the input of a model. */

import type { Preprocess } from "./artifact.js";
import { ImageError } from "./error.js";
import type { RgbImage } from "./pixels.js";
import { type Crop, resizeAndCrop } from "./resize.js";

/** Width times height, after resizing, of the narrowest strip that is accepted. */
const MAX_RESIZED_PIXELS = 2 ** 30;

/** Ties to even, as Python rounds. */
function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

/**
 * Where the crop lies in the resized image: the short side becomes `resizeSize`, the long one its rounded share.
 * Throws ImageError for an image that is too narrow; `name` is for the message.
 */
export function cropOf(width: number, height: number, spec: Preprocess, name: string): Crop {
  const ratio = spec.resizeSize / Math.min(width, height);
  const [newWidth, newHeight] = [roundHalfEven(width * ratio), roundHalfEven(height * ratio)];
  const size = spec.cropSize;
  if (newWidth * newHeight > MAX_RESIZED_PIXELS) {
    throw new ImageError(
      `${name} is too narrow: it would be resized to ${newWidth} x ${newHeight} pixels to cut out ${size} x ${size}, ` +
        `the limit is ${MAX_RESIZED_PIXELS} in all; crop it to the part that matters`,
    );
  }
  const [left, top] = [Math.floor((newWidth - size) / 2), Math.floor((newHeight - size) / 2)];
  return { width: newWidth, height: newHeight, left, top, size };
}

/**
 * The input of a model: float32 [3, cropSize, cropSize], channels R, G, B; equal to Python's, bit for bit.
 * Throws ImageError as `cropOf` does.
 */
export function preprocess(image: RgbImage, spec: Preprocess, name: string): Float32Array {
  const crop = cropOf(image.width, image.height, spec, name);
  const pixels = resizeAndCrop(image, crop, spec.interpolation);
  const area = pixels.length / 3;
  const result = new Float32Array(pixels.length);
  for (let channel = 0; channel < 3; channel++) {
    const [mean, std] = [spec.mean[channel]!, spec.std[channel]!];
    const scale = Math.fround(1 / (255 * std));
    const shift = Math.fround(-mean / std);
    // Products and sums of two float32 are rounded once to float32, as in float32 arithmetic.
    const values = Float32Array.from({ length: 256 }, (_, level) => Math.fround(level * scale) + shift);
    for (let at = 0; at < area; at++) result[channel * area + at] = values[pixels[3 * at + channel]!]!;
  }
  return result;
}
