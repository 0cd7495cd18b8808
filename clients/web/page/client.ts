/** The worker's requests as promises. */

import type { Answer, LoadedModel, Place, Reply, Request } from "./messages.js";

/** A request failed; `kind` is the name of the library's error, `message` says what is wrong and how to fix it. */
export class Failure extends Error {
  constructor(
    readonly kind: string,
    message: string,
  ) {
    super(message);
  }
}

interface Waiting {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: Error) => void;
  readonly progress: (done: number, total: number) => void;
}

type Unnumbered<T> = T extends unknown ? Omit<T, "id"> : never;

export class Client {
  private readonly worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, Waiting>();
  private last = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Reply>) => this.received(data);
    this.worker.onerror = (event) => this.failed(event.message || "it cannot be started");
  }

  async load(place: Place, webgpu: boolean, progress: (done: number, total: number) => void): Promise<LoadedModel> {
    const reply = await this.ask({ type: "load", place, webgpu }, [], progress);
    if (reply.type !== "loaded") throw new TypeError(reply.type);
    return reply.model;
  }

  async classify(image: Blob | ImageBitmap, name: string): Promise<Answer> {
    const moved = image instanceof ImageBitmap ? [image] : [];
    const reply = await this.ask({ type: "classify", image, name }, moved);
    if (reply.type !== "answer") throw new TypeError(reply.type);
    return reply.answer;
  }

  private ask(
    request: Unnumbered<Request>,
    moved: Transferable[],
    progress: Waiting["progress"] = () => undefined,
  ): Promise<Reply> {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, progress });
      this.worker.postMessage({ ...request, id }, moved);
    });
  }

  private received(reply: Reply): void {
    const one = this.waiting.get(reply.id);
    if (reply.type === "progress") {
      one?.progress(reply.done, reply.total);
      return;
    }
    this.waiting.delete(reply.id);
    if (reply.type === "failed") one?.reject(new Failure(reply.kind, reply.message));
    else one?.resolve(reply);
  }

  private failed(reason: string): void {
    for (const one of this.waiting.values()) {
      one.reject(new Failure("EngineError", `the worker of this page failed: ${reason}; reload the page`));
    }
    this.waiting.clear();
  }
}
