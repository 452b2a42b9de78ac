/** Lets a page's or worker's event loop run once. @module */

export function pause(): Promise<void> {
  const channel = new MessageChannel(); // not setTimeout: nested timers are clamped to 4 ms
  return new Promise((resolve) => {
    channel.port1.onmessage = () => {
      channel.port1.close();
      resolve();
    };
    channel.port2.postMessage(null);
  });
}
