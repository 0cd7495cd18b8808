/**
 * Keeps what was loaded, so that the page works offline, and sends the headers that threads in WebAssembly need.
 *
 * `onnxzoo web` writes the list of the site's files before this script. A file is kept under its SHA-256: a new version
 * of the site replaces what changed and nothing else.
 */

const worker = self as unknown as ServiceWorkerGlobalScope & { readonly SITE_FILES: Readonly<Record<string, string>> };

const CACHE = "onnxzoo";
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};
const files = worker.SITE_FILES;

worker.addEventListener("install", (event) => {
  event.waitUntil(installed());
});
worker.addEventListener("activate", (event) => {
  event.waitUntil(activated());
});
worker.addEventListener("fetch", (event) => {
  const path = pathOf(event.request);
  if (path !== undefined) event.respondWith(response(event, path));
});

/** The page itself is kept at once; models and the runtime when they are used. */
async function installed(): Promise<void> {
  const cache = await caches.open(CACHE);
  const page = Object.keys(files).filter((path) => !path.includes("/"));
  await Promise.all(
    page.map(async (path) => {
      if (await cache.match(keyOf(path))) return;
      const found = await fetch(new URL(path, worker.registration.scope), { cache: "no-cache" });
      if (!found.ok) throw new Error(`${path}: ${found.status}`);
      await keep(path, found);
    }),
  );
  await worker.skipWaiting();
}

async function activated(): Promise<void> {
  const cache = await caches.open(CACHE);
  const current = new Set(Object.keys(files).map(keyOf));
  const old = (await cache.keys()).filter(({ url }) => !current.has(url));
  await Promise.all(old.map((request) => cache.delete(request)));
  await worker.clients.claim();
}

/** The path of a file of this site; undefined for all else, which is left to the browser. */
function pathOf(request: Request): string | undefined {
  const url = new URL(request.url);
  const { scope } = worker.registration;
  const address = url.origin + url.pathname;
  if (request.method !== "GET" || !address.startsWith(scope)) return undefined;
  const path = decodeURIComponent(address.slice(scope.length)) || "index.html";
  return path in files ? path : undefined;
}

function keyOf(path: string): string {
  return new URL(`${path}?sha256=${files[path]}`, worker.registration.scope).href;
}

async function response(event: FetchEvent, path: string): Promise<Response> {
  const cache = await caches.open(CACHE);
  let found = await cache.match(keyOf(path));
  if (found === undefined) {
    found = await fetch(event.request);
    if (found.ok) event.waitUntil(keep(path, found.clone()));
  }
  const headers = headersOf(found);
  for (const [name, value] of Object.entries(ISOLATION)) headers.set(name, value);
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers });
}

/** The headers of a response, without those of its transfer: its body is not compressed any more. */
function headersOf(found: Response): Headers {
  const headers = new Headers(found.headers);
  headers.delete("Content-Encoding");
  headers.delete("Content-Length");
  return headers;
}

/** Keeps a file if it is the one that this version of the site has, and if there is space for it. */
async function keep(path: string, found: Response): Promise<void> {
  try {
    const data = await found.arrayBuffer();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
    const sha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (sha256 !== files[path]) return;
    const cache = await caches.open(CACHE);
    await cache.put(keyOf(path), new Response(data, { headers: headersOf(found) }));
  } catch {
    // Without space, or if the download breaks off, the file is fetched again next time.
  }
}
