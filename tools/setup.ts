// `npm run setup`: makes sure that a GPU adapter answers. Where none does, it installs Mesa's software driver as root,
// unpacks one under the project otherwise, or says what to install.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UserError } from '../src/errors.ts';
import { installAdvice, oldestMesa, readOsRelease, unpackedDriverFolder } from '../src/gpu/driver.ts';
import { Apt, hasApt, usableMesa } from './setup/apt.ts';
import { probeAdapter } from './setup/probe.ts';
import { backportsSource, readSources } from './setup/sources.ts';
import { unpackLavapipe, unpackSwiftShader } from './setup/unpack.ts';

const backportsFile = 'mfp-clip-backports.sources';

/** Finds a Mesa that is new enough, in the machine's package sources or else in the backports suite beside them. */
function findMesa(apt: Apt): { version: string; suite?: string } | undefined {
  apt.update();
  const present = usableMesa(apt);
  if (present) return present;
  if (apt.updateProblem && !apt.candidate('mesa-vulkan-drivers')) {
    throw new UserError(`the package lists cannot be fetched; check the network, or the proxy in /etc/apt/apt.conf.d:\n${apt.updateProblem}`);
  }
  const codename = readOsRelease().VERSION_CODENAME;
  const source = codename && backportsSource(readSources(), codename);
  if (!source) return undefined;
  const file = join(apt.sourcesFolder, backportsFile);
  console.log(`Mesa here is older than ${oldestMesa}; asking ${codename}-backports (${file}).`);
  writeFileSync(file, source);
  apt.update();
  const found = usableMesa(apt);
  if (!found) {
    // A suite that does not exist, or has nothing for us, would only disturb the machine's next update.
    rmSync(file);
    apt.update();
  }
  return found;
}

function installForMachine(): void {
  const apt = new Apt();
  const mesa = findMesa(apt);
  if (!mesa) {
    console.log(`The machine's package sources have no Mesa from version ${oldestMesa} on; unpacking a driver under the project instead.`);
    unpackForProject();
    return;
  }
  console.log(`Installing Mesa ${mesa.version} (mesa-vulkan-drivers, libvulkan1)${mesa.suite ? ` from ${mesa.suite}` : ''}.`);
  apt.install(['mesa-vulkan-drivers', 'libvulkan1'], mesa.suite);
}

function unpackForProject(): void {
  const parent = dirname(unpackedDriverFolder);
  mkdirSync(parent, { recursive: true });
  const work = mkdtempSync(join(parent, 'work-'));
  try {
    const apt = new Apt(join(work, 'apt'));
    const mesa = findMesa(apt);
    if (mesa) {
      console.log(`Unpacking lavapipe of Mesa ${mesa.version}${mesa.suite ? ` from ${mesa.suite}` : ''} into ${unpackedDriverFolder}.`);
      unpackLavapipe(apt, mesa, work);
    } else if (apt.candidate('chromium-common')) {
      console.log(`No Mesa from version ${oldestMesa} on here. Unpacking SwiftShader, which is several times slower and has no f16, into ${unpackedDriverFolder}.`);
      unpackSwiftShader(apt, work);
    } else {
      throw new UserError(`the machine's package sources have neither a Mesa from version ${oldestMesa} on nor Debian's Chromium, whose SwiftShader would do`);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function setUp(): void {
  const before = probeAdapter();
  if (before.adapter) {
    console.log(`An adapter answers, nothing to set up: ${before.adapter}`);
    return;
  }
  const problem = before.problem!.split('\n')[0];
  const namedByHand = process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES || process.env.MFP_CLIP_ADAPTER;
  if (namedByHand || process.platform !== 'linux' || !hasApt()) throw new UserError(problem);
  console.log(problem);
  if (process.getuid!() === 0) installForMachine();
  else unpackForProject();
  const after = probeAdapter();
  if (!after.adapter) throw new UserError(`a driver is there now, but still ${after.problem!.split('\n')[0]}`);
  console.log(`Set up: ${after.adapter}`);
}

try {
  setUp();
} catch (error) {
  console.error(`${(error as Error).message}\n${installAdvice()}`);
  process.exitCode = 1;
}
