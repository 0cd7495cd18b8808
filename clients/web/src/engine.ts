/** What runs a model: ONNX Runtime Web, and the checks that are common to its providers. */

import type { InferenceSession, Tensor, TypedTensor } from "onnxruntime-web";

import type { Artifact } from "./artifact.js";
import { differenceOf, type Vector } from "./conformance.js";
import { ArtifactError, EngineError, EngineUnavailableError, InputError, reasonOf } from "./error.js";

export const INPUT_NAME = "pixel_values";
export const OUTPUT_NAME = "logits";

export type Provider = "wasm" | "webgpu";

/** The part of the package onnxruntime-web that is used. */
export interface Runtime {
  readonly InferenceSession: {
    create(model: Uint8Array, options: InferenceSession.SessionOptions): Promise<InferenceSession>;
  };
  readonly Tensor: new (type: "float32", data: Float32Array, dims: readonly number[]) => TypedTensor<"float32">;
}

/** One artifact's model in fp32, on one provider. */
export class Engine {
  private constructor(
    private readonly artifact: Artifact,
    private readonly session: InferenceSession,
    private readonly runtime: Runtime,
    readonly provider: Provider,
  ) {}

  /**
   * Opens the model. Throws EngineError if ONNX Runtime rejects it, ArtifactError if its inputs or outputs are not those
   * that config.json implies.
   */
  static async open(artifact: Artifact, model: Uint8Array, runtime: Runtime, provider: Provider): Promise<Engine> {
    let session: InferenceSession;
    try {
      session = await runtime.InferenceSession.create(model, { executionProviders: [provider], logSeverityLevel: 3 });
    } catch (error) {
      const reason = reasonOf(error).replace(/\.$/, "");
      throw new EngineError(
        `ONNX Runtime (${provider}) rejects the model of ${artifact.name}: ${reason}; export or download the model again`,
      );
    }
    try {
      requireInterface(artifact, session);
    } catch (error) {
      await session.release();
      throw error;
    }
    return new Engine(artifact, session, runtime, provider);
  }

  /** float32 [3, S, S] -> one logit per class. Throws EngineError if the engine fails, or the logits are not finite. */
  async logits(image: Float32Array): Promise<Float32Array> {
    const { name, imageSize, labels } = this.artifact;
    if (image.length !== 3 * imageSize * imageSize) {
      throw new InputError(`the image has ${image.length} values, expected 3 x ${imageSize} x ${imageSize}`);
    }
    let output: Tensor;
    try {
      const input = new this.runtime.Tensor("float32", image, [1, 3, imageSize, imageSize]);
      output = (await this.session.run({ [INPUT_NAME]: input }, [OUTPUT_NAME]))[OUTPUT_NAME]!;
    } catch (error) {
      throw new EngineError(`${name} failed in ONNX Runtime (${this.provider}): ${reasonOf(error)}`);
    }
    const logits = output.data as Float32Array;
    if (logits.length !== labels.length) {
      throw new EngineError(`${name}: there are ${logits.length} logits, expected ${labels.length}`);
    }
    if (!logits.every(Number.isFinite)) {
      throw new EngineError(`${name}: logits are NaN or infinite; ONNX Runtime (${this.provider}) computed them`);
    }
    return logits;
  }

  /** Runs the vectors; throws EngineUnavailableError with the figures if the recorded outputs are not reproduced. */
  async requireKnownAnswers(vectors: readonly Vector[]): Promise<void> {
    for (const { image, logits } of vectors) {
      const difference = differenceOf(await this.logits(image), logits);
      if (difference !== undefined) {
        throw new EngineUnavailableError(`${this.provider} gives wrong results here: ${difference}`);
      }
    }
  }

  async close(): Promise<void> {
    await this.session.release();
  }
}

type Shape = readonly (number | string)[];

/** Throws ArtifactError unless the model has the input and the output of the artifact. */
function requireInterface(artifact: Artifact, session: InferenceSession): void {
  const [size, classes] = [artifact.imageSize, artifact.labels.length];
  for (const [what, metadata, name, expected] of [
    ["input", session.inputMetadata, INPUT_NAME, [-1, 3, size, size]],
    ["output", session.outputMetadata, OUTPUT_NAME, [-1, classes]],
  ] as const) {
    const remedy = "export or download the model again";
    const found = metadata.find((one) => one.name === name);
    if (found === undefined || !found.isTensor || (what === "input" && metadata.length !== 1)) {
      throw new ArtifactError(`the ONNX file of ${artifact.name} has no ${what} '${name}', or others; ${remedy}`);
    }
    const shape: Shape = found.shape;
    const fits = shape.every((side, at) => typeof side === "string" || side < 0 || expected[at]! < 0 || side === expected[at]);
    if (shape.length !== expected.length || !fits || found.type !== "float32") {
      throw new ArtifactError(
        `the ONNX file of ${artifact.name} does not fit its config.json: '${name}' is ${found.type} of shape ` +
          `${shape.join(" x ")}, expected float32 ${expected.join(" x ").replace("-1", "N")}; ${remedy}`,
      );
    }
  }
}
