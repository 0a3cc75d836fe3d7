import { prepareDriver } from '../../../src/gpu/driver.ts';

/**
 * Gives this process the `navigator.gpu` of a browser, from the same Dawn that mfp-clip uses.
 *
 * @returns name of the adapter that `requestAdapter` gives
 */
export async function provideWebGpu(): Promise<string> {
  prepareDriver();
  const { create, globals } = await import('webgpu');
  const wanted = process.env.MFP_CLIP_ADAPTER;
  // Held by the global object for as long as the process lives: Dawn crashes when its instance is collected.
  const gpu = create(wanted ? [`adapter=${wanted}`] : []);
  Object.assign(globalThis, globals);
  // Newer versions of Node have a navigator without a GPU, which cannot be assigned.
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { gpu, userAgent: `Node.js/${process.versions.node}`, hardwareConcurrency: 1 } });
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new Error('no WebGPU adapter answers');
  return adapterName(adapter.info);
}

/** How an adapter calls itself, as `Gpu.key` has it. */
function adapterName({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  return [vendor, architecture, device, description].filter((part) => part !== '').join(' | ');
}
