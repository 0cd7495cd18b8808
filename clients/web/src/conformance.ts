/** The conformance vectors of an artifact: inputs with a reference's outputs, and whether an engine reproduces them. */

import type { Artifact } from "./artifact.js";
import { ArtifactError } from "./error.js";
import { type FloatArray, Npz, NpzError } from "./npz.js";

const MAX_INPUTS = 64;
const MAX_BYTES = 512 * 2 ** 20;

/** A value passes when abs(y - ref) <= tolerance + tolerance * abs(ref): fp32 in onnxzoo/precisions.py. */
export const TOLERANCE = 1e-4;

/** An input, float32 [3, S, S], and the logits that the reference gave for it. */
export interface Vector {
  readonly image: Float32Array;
  readonly logits: Float32Array;
}

/**
 * The vectors in the bytes of a conformance.npz, which were verified.
 * Throws ArtifactError if it is malformed, does not fit the model, or has values that are not finite.
 */
export async function parseVectors(artifact: Artifact, data: Uint8Array): Promise<Vector[]> {
  const path = `${artifact.folder}/conformance.npz`;
  const fail = (reason: string): never => {
    throw new ArtifactError(`${path} cannot be read: ${reason}; export or download the model again`);
  };
  try {
    const archive = new Npz(data, MAX_BYTES);
    const [images, logits] = [await archive.floats("pixel_values"), await archive.floats("logits")];
    const count = logits.shape[0] ?? 0;
    if (count < 1 || count > MAX_INPUTS) fail(`it has ${count} inputs, expected 1 to ${MAX_INPUTS}`);
    const [inputs, outputs] = [
      rows(images, [count, 3, artifact.imageSize, artifact.imageSize]),
      rows(logits, [count, artifact.labels.length]),
    ];
    if (!inputs || !outputs) return fail(`its arrays are ${images.shape.join(" x ")} and ${logits.shape.join(" x ")}`);
    return inputs.map((image, at) => ({ image, logits: outputs[at]! }));
  } catch (error) {
    if (!(error instanceof NpzError)) throw error;
    return fail(error.message);
  }
}

/** The rows of an array of this shape; undefined if its shape differs or a value is not finite. */
function rows({ shape, values }: FloatArray, expected: readonly number[]): Float32Array[] | undefined {
  if (shape.join() !== expected.join() || !values.every(Number.isFinite)) return undefined;
  const size = values.length / expected[0]!;
  return Array.from({ length: expected[0]! }, (_, at) => values.subarray(at * size, (at + 1) * size));
}

/**
 * Why the logits are not those of the reference; undefined if they are, within the tolerance, and if the best class is
 * the same where the reference's margin exceeds it.
 */
export function differenceOf(logits: Float32Array, expected: Float32Array): string | undefined {
  if (logits.length !== expected.length) return `there are ${logits.length} logits, expected ${expected.length}`;
  if (!logits.every(Number.isFinite)) return "logits are NaN or infinite";
  let [worst, largest] = [0, 0];
  logits.forEach((logit, at) => {
    const difference = Math.abs(logit - expected[at]!);
    largest = Math.max(largest, difference);
    worst = Math.max(worst, difference / (TOLERANCE + TOLERANCE * Math.abs(expected[at]!)));
  });
  if (worst > 1) return `logits differ by up to ${largest.toPrecision(3)} (tolerance ${TOLERANCE})`;
  const best = expected.indexOf(Math.max(...expected));
  const found = logits.indexOf(Math.max(...logits));
  const margin = expected[best]! - expected[found]!;
  if (margin > TOLERANCE + TOLERANCE * Math.abs(expected[best]!)) return "the best class differs";
  return undefined;
}
