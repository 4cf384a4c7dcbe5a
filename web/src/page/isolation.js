/**
 * Cross-origin isolation, which WebAssembly's threads need, on a server that sends no headers of its
 * own: the service worker adds them, from the next load of the page on.
 */

const ONCE = "kd-isolation-tried";

/** @returns {Promise<void>} does not end where the page is about to load again */
export async function isolate() {
  if (globalThis.crossOriginIsolated || !navigator.serviceWorker) return;
  try {
    await navigator.serviceWorker.register(new URL("../isolation-worker.js", import.meta.url));
    await navigator.serviceWorker.ready;
    if (sessionStorage.getItem(ONCE)) return;
    sessionStorage.setItem(ONCE, "yes");
  } catch {
    return; // private windows refuse one or the other: one thread will do
  }
  location.reload();
  await new Promise(() => {});
}
