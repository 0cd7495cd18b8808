/** Pillow's antialiased resize of 8-bit images, bit for bit (Pillow, src/libImaging/Resample.c), of a crop only. */

import type { Interpolation } from "./artifact.js";
import type { RgbImage } from "./pixels.js";

/** A square of the resized image: `left`, `top` and `size` in its pixels; the resized image has width x height. */
export interface Crop {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly top: number;
  readonly size: number;
}

/** The source pixels of one output pixel, from `first`, and their weights in fixed point. */
interface Taps {
  readonly first: number;
  readonly weights: Int32Array;
}

// 32 bits less 8 for the pixels and 2 for weights beyond 1: sums of products fit 32 bits, and are exact here.
const WEIGHT_BITS = 32 - 8 - 2;
const ONE = 1 << WEIGHT_BITS;
const HALF = 1 << (WEIGHT_BITS - 1);

const SUPPORT: Readonly<Record<Interpolation, number>> = { nearest: 0, bilinear: 1, bicubic: 2, lanczos: 3 };

function sinc(x: number): number {
  if (x === 0) return 1;
  x *= Math.PI;
  return Math.sin(x) / x;
}

/** The weight at distance x from the centre; bicubic is Keys' with a = -0.5. */
function filterWeight(filter: Interpolation, x: number): number {
  if (filter === "lanczos") return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  x = Math.abs(x);
  if (filter === "bilinear") return x < 1 ? 1 - x : 0;
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/** The taps of output pixels `begin` to `begin + count` when `source` pixels become `target`. */
function filteredTaps(filter: Interpolation, source: number, target: number, begin: number, count: number): Taps[] {
  const scale = source / target;
  const filterScale = Math.max(scale, 1);
  const support = SUPPORT[filter] * filterScale;
  const step = 1 / filterScale;
  return Array.from({ length: count }, (_, at) => {
    const centre = (begin + at + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support + 0.5), 0);
    const length = Math.max(Math.min(Math.trunc(centre + support + 0.5), source) - first, 0);
    const weights = new Float64Array(length);
    let total = 0;
    for (let tap = 0; tap < length; tap++) {
      weights[tap] = filterWeight(filter, (tap + first - centre + 0.5) * step);
      total += weights[tap]!;
    }
    const fixed = Int32Array.from(weights, (weight) => {
      const value = (total !== 0 ? weight / total : weight) * ONE;
      return Math.trunc(value < 0 ? value - 0.5 : value + 0.5);
    });
    return { first, weights: fixed };
  });
}

/** The taps of an axis that keeps its size. */
function unchangedTaps(begin: number, count: number): Taps[] {
  return Array.from({ length: count }, (_, at) => ({ first: begin + at, weights: Int32Array.of(ONE) }));
}

/** Pillow takes the nearest pixel by adding up the scale (Geometry.c, ImagingScaleAffine); the rounding errors count. */
function nearestTaps(source: number, target: number, begin: number, count: number): Taps[] {
  const scale = source / target;
  const result: Taps[] = [];
  let place = scale * 0.5;
  for (let at = 0; at < begin + count; at++, place += scale) {
    if (at < begin) continue;
    const nearest = Math.trunc(place);
    result.push({ first: Math.min(nearest, source - 1), weights: Int32Array.of(nearest < source ? ONE : 0) });
  }
  return result;
}

function axisTaps(filter: Interpolation, source: number, target: number, begin: number, count: number): Taps[] {
  if (source === target) return unchangedTaps(begin, count);
  if (filter === "nearest") return nearestTaps(source, target, begin, count);
  return filteredTaps(filter, source, target, begin, count);
}

/**
 * The crop of the resized image: crop.size x crop.size x 3 bytes. Rows are resized first and rounded to bytes, then
 * columns; only what the crop needs is computed. The crop must lie within the resized image.
 */
export function resizeAndCrop(image: RgbImage, crop: Crop, filter: Interpolation): Uint8Array {
  const across = axisTaps(filter, image.width, crop.width, crop.left, crop.size);
  const down = axisTaps(filter, image.height, crop.height, crop.top, crop.size);
  const top = down[0]!.first;
  const last = down[down.length - 1]!;
  const bottom = Math.max(last.first + last.weights.length, top);
  const { pixels } = image;
  const rowBytes = crop.size * 3;

  // Storing to a clamped array limits the sums to 0..255.
  const rows = new Uint8ClampedArray((bottom - top) * rowBytes);
  let to = 0;
  for (let y = top; y < bottom; y++) {
    for (const { first, weights } of across) {
      let from = (y * image.width + first) * 3;
      let [red, green, blue] = [HALF, HALF, HALF];
      for (let tap = 0; tap < weights.length; tap++, from += 3) {
        const weight = weights[tap]!;
        red += pixels[from]! * weight;
        green += pixels[from + 1]! * weight;
        blue += pixels[from + 2]! * weight;
      }
      rows[to++] = red >> WEIGHT_BITS;
      rows[to++] = green >> WEIGHT_BITS;
      rows[to++] = blue >> WEIGHT_BITS;
    }
  }
  const result = new Uint8ClampedArray(crop.size * rowBytes);
  to = 0;
  for (const { first, weights } of down) {
    const start = (first - top) * rowBytes;
    for (let at = 0; at < rowBytes; at++) {
      let sum = HALF;
      let from = start + at;
      for (let tap = 0; tap < weights.length; tap++, from += rowBytes) sum += rows[from]! * weights[tap]!;
      result[to++] = sum >> WEIGHT_BITS;
    }
  }
  return new Uint8Array(result.buffer);
}
