/** What `onnxzoo web` wrote about this site. */

export interface SiteModel {
  readonly name: string;
  readonly folder: string;
  /** Of the ONNX file. */
  readonly bytes: number;
}

/** `webgpu`: whether the runtime for WebGPU is part of the site. */
export interface Site {
  readonly models: readonly SiteModel[];
  readonly webgpu: boolean;
}

/** Throws Error with a sentence for the user. */
export async function readSite(): Promise<Site> {
  try {
    const response = await fetch("site.json");
    if (response.ok) return (await response.json()) as Site;
  } catch {
    // The sentence below says it.
  }
  throw new Error("This site is incomplete: site.json cannot be read. Write it again with 'onnxzoo web'.");
}
