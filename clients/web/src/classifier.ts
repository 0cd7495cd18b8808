/** The shortest way from an artifact to answers. */

import type { Artifact } from "./artifact.js";
import { browserPixels } from "./browser.js";
import { type ClassScore, topClasses } from "./classes.js";
import { parseVectors, type Vector } from "./conformance.js";
import { decodeImage, requireEncodedSize } from "./decode.js";
import { Engine, type Provider, type Runtime } from "./engine.js";
import { ImageError, OnnxzooError, reasonOf } from "./error.js";
import { type ArtifactFolder, type Progress, readArtifact, readFile, UrlFolder } from "./folder.js";
import type { RgbImage } from "./pixels.js";
import { preprocess } from "./preprocess.js";

/** `top`: the best classes. `preprocessMs`, `modelMs`: from encoded bytes to the input, and from there to logits. */
export interface Prediction {
  readonly top: readonly ClassScore[];
  readonly logits: Float32Array;
  readonly preprocessMs: number;
  readonly modelMs: number;
}

export interface LoadOptions {
  /** The package onnxruntime-web, as `import * as ort from "onnxruntime-web/wasm"` gives it; loaded when it is needed. */
  readonly wasm: () => Promise<Runtime>;
  /** The same with WebGPU (`onnxruntime-web/webgpu`): used if it reproduces the artifact's conformance vectors. */
  readonly webgpu?: (() => Promise<Runtime>) | undefined;
  /** Called while the model is downloaded. */
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
}

/** A model that was loaded. `refusal`: why WebGPU is not used, if it was tried. */
export class Classifier {
  private constructor(
    readonly artifact: Artifact,
    private readonly engine: Engine,
    readonly refusal: string | undefined,
  ) {}

  /**
   * Loads an artifact, by its URL or from a folder that the user chose, and verifies it.
   *
   * Throws ModelNotFoundError, ArtifactError, DownloadError, EngineError.
   */
  static async load(place: string | URL | ArtifactFolder, options: LoadOptions): Promise<Classifier> {
    const folder = typeof place === "string" || place instanceof URL ? new UrlFolder(place) : place;
    const artifact = await readArtifact(folder, options.signal);
    const model = await readFile(folder, artifact.model, options.progress, options.signal);
    let refusal: string | undefined;
    if (options.webgpu !== undefined && artifact.conformance !== undefined) {
      const vectors = await parseVectors(artifact, await readFile(folder, artifact.conformance, undefined, options.signal));
      const found = await believed(artifact, model, options.webgpu, vectors);
      if (found instanceof Engine) return new Classifier(artifact, found, undefined);
      refusal = found;
    }
    return new Classifier(artifact, await Engine.open(artifact, model, await options.wasm(), "wasm"), refusal);
  }

  get provider(): Provider {
    return this.engine.provider;
  }

  /**
   * Classifies an encoded image or pixels. `name` is for messages.
   *
   * Throws ImageError, which names the image, if it cannot be read; EngineError if the model fails.
   */
  async predict(image: Blob | RgbImage, { topK = 5, name = "the image" } = {}): Promise<Prediction> {
    const start = performance.now();
    const rgb = image instanceof Blob ? await decodeImage(await bytesOf(image, name), name, browserPixels) : image;
    const input = preprocess(rgb, this.artifact.preprocess, name);
    const ready = performance.now();
    const logits = await this.engine.logits(input);
    const done = performance.now();
    const top = topClasses(logits, this.artifact.labels, topK);
    return { top, logits, preprocessMs: ready - start, modelMs: done - ready };
  }

  async close(): Promise<void> {
    await this.engine.close();
  }
}

/** The model on WebGPU if that reproduces the vectors; otherwise the reason. */
async function believed(
  artifact: Artifact,
  model: Uint8Array,
  webgpu: () => Promise<Runtime>,
  vectors: readonly Vector[],
): Promise<Engine | string> {
  let engine: Engine | undefined;
  try {
    engine = await Engine.open(artifact, model, await webgpu(), "webgpu");
    await engine.requireKnownAnswers(vectors);
    return engine;
  } catch (error) {
    await engine?.close();
    return error instanceof OnnxzooError ? error.message : reasonOf(error);
  }
}

async function bytesOf(image: Blob, name: string): Promise<Uint8Array<ArrayBuffer>> {
  requireEncodedSize(name, image.size);
  try {
    return new Uint8Array(await image.arrayBuffer());
  } catch (error) {
    throw new ImageError(`${name} cannot be read: ${reasonOf(error)}; check that it is a file`);
  }
}
