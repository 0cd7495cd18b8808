/** What the page and its worker tell each other. */

import type { ClassScore, Provider } from "../src/index.js";

/** Where a model is: an address, or the files of a folder that the user chose. */
export type Place = { readonly url: string } | { readonly files: readonly File[] };

/** The page to the worker; `id` numbers the requests. */
export type Request =
  | { readonly id: number; readonly type: "load"; readonly place: Place; readonly webgpu: boolean }
  | { readonly id: number; readonly type: "classify"; readonly image: Blob | ImageBitmap; readonly name: string };

/** A model that was loaded. `refusal`: why WebGPU is not used, if it was tried. */
export interface LoadedModel {
  readonly name: string;
  readonly classes: number;
  readonly provider: Provider;
  readonly threads: number;
  readonly refusal: string | undefined;
}

export interface Answer {
  readonly top: readonly ClassScore[];
  readonly logits: Float32Array;
  readonly preprocessMs: number;
  readonly modelMs: number;
}

/** The worker to the page; every request ends with `loaded`, `answer` or `failed`. */
export type Reply =
  | { readonly id: number; readonly type: "progress"; readonly done: number; readonly total: number }
  | { readonly id: number; readonly type: "loaded"; readonly model: LoadedModel }
  | { readonly id: number; readonly type: "answer"; readonly answer: Answer }
  | { readonly id: number; readonly type: "failed"; readonly kind: string; readonly message: string };
