/** Downloads, decodes and computes, so that the page stays responsive. */

import {
  Classifier,
  FileFolder,
  InputError,
  OnnxzooError,
  pixelsOf,
  type Provider,
  type Runtime,
  UrlFolder,
} from "../src/index.js";
import type { LoadedModel, Reply, Request } from "./messages.js";

type OnnxRuntimeWeb = Runtime & { readonly env: typeof import("onnxruntime-web").env };

/** More threads do not make models of this size faster, and slow down phones with cores of two speeds. */
const MAX_THREADS = 4;
const RUNTIME = new URL("runtime/", self.location.href).href;
const SCRIPTS: Readonly<Record<Provider, string>> = { wasm: "ort.wasm.min.mjs", webgpu: "ort.webgpu.min.mjs" };

const threads = self.crossOriginIsolated ? Math.min(MAX_THREADS, navigator.hardwareConcurrency || 1) : 1;
let model: Classifier | undefined;
let loading: AbortController | undefined;
let queue: Promise<void> = Promise.resolve();

self.onmessage = ({ data }: MessageEvent<Request>): void => {
  // Another model replaces one that is still being downloaded.
  if (data.type === "load") loading?.abort();
  const abort = new AbortController();
  if (data.type === "load") loading = abort;
  queue = queue.then(() => answered(data, abort.signal));
};

function reply(message: Reply): void {
  self.postMessage(message);
}

async function answered(request: Request, signal: AbortSignal): Promise<void> {
  const { id } = request;
  try {
    if (request.type === "load") {
      reply({ id, type: "loaded", model: await loaded(request, signal) });
    } else {
      if (model === undefined) throw new InputError("no model is open; choose one first");
      const { image, name } = request;
      const pixels = image instanceof ImageBitmap ? pixelsOf(image) : image;
      reply({ id, type: "answer", answer: await model.predict(pixels, { name }) });
    }
  } catch (error) {
    const known = error instanceof OnnxzooError ? error : unexpected(error);
    reply({ id, type: "failed", kind: known.name, message: known.message });
  }
}

function unexpected(error: unknown): OnnxzooError {
  const reason = error instanceof Error ? error.message : String(error);
  return new OnnxzooError(`it failed in this browser: ${reason}; reload the page, or use another browser`);
}

async function loaded(request: Request & { type: "load" }, signal: AbortSignal): Promise<LoadedModel> {
  const { id, place, webgpu } = request;
  const earlier = model;
  model = undefined;
  await earlier?.close();
  const folder = "url" in place ? new UrlFolder(place.url) : new FileFolder(place.files);
  model = await Classifier.load(folder, {
    wasm: () => runtime("wasm"),
    webgpu: webgpu && (await hasGpu()) ? () => runtime("webgpu") : undefined,
    progress: (done, total) => reply({ id, type: "progress", done, total }),
    signal,
  });
  const { artifact, provider, refusal } = model;
  return { name: artifact.name, classes: artifact.labels.length, provider, threads, refusal };
}

/** ONNX Runtime Web from the site's own files, which are fetched when they are needed. */
async function runtime(provider: Provider): Promise<OnnxRuntimeWeb> {
  const ort = (await import(/* @vite-ignore */ RUNTIME + SCRIPTS[provider])) as OnnxRuntimeWeb;
  ort.env.wasm.wasmPaths = RUNTIME;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  return ort;
}

/** Whether WebGPU has a GPU; its software, which some browsers have for machines without one, is slower than WebAssembly. */
async function hasGpu(): Promise<boolean> {
  type Adapter = { readonly info?: { readonly isFallbackAdapter?: boolean }; readonly isFallbackAdapter?: boolean };
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<Adapter | null> } };
  try {
    const adapter = await gpu?.requestAdapter();
    return Boolean(adapter && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter));
  } catch {
    return false;
  }
}
