/** The service worker, which keeps the site for use without a network and lets WebAssembly use threads. */

const RELOADED = "onnxzoo-reloaded";
const PATIENCE_MS = 2000;

/**
 * Registers the service worker. At the first visit the page is reloaded once, before anything was begun, so that it
 * comes with the headers that threads need; a server that sends them makes that unnecessary.
 */
export async function registerServiceWorker(): Promise<void> {
  const container = navigator.serviceWorker as ServiceWorkerContainer | undefined;
  if (container === undefined) return; // not HTTPS
  try {
    await container.register("service_worker.js");
    if (self.crossOriginIsolated || sessionStorage.getItem(RELOADED)) return;
    const controlled = container.controller !== null || (await changed(container));
    if (!controlled) return;
    sessionStorage.setItem(RELOADED, "yes");
    location.reload();
    await new Promise(() => undefined);
  } catch {
    // The page works without it, with one thread and only online.
  }
}

/** Whether a service worker takes over in time. */
function changed(container: ServiceWorkerContainer): Promise<boolean> {
  return new Promise((resolve) => {
    container.addEventListener("controllerchange", () => resolve(true), { once: true });
    setTimeout(() => resolve(false), PATIENCE_MS);
  });
}
