/**
 * The npm packages that a program is made of: what Deno says of its modules, with hashes from the lock file and licenses from the packages.
 * @module
 */

/** One package of the program. */
export interface Package {
  /** Name and version as the lock file has them; two with other peers differ here alone. */
  readonly id: string;
  readonly name: string;
  readonly version: string;
  /** As its package.json has it. */
  readonly license: string | undefined;
  /** Of the registry's archive, in hexadecimal digits. */
  readonly sha512: string;
  /** Ids of the packages that it names. */
  readonly dependencies: readonly string[];
  /** Whether the program's own modules use it. */
  readonly isDirect: boolean;
}

/** What is read of `deno info --json`. */
export interface Info {
  readonly modules: readonly { readonly specifier: string; readonly npmPackage?: string }[];
  readonly npmPackages: Readonly<Record<string, NpmPackage>>;
}

/** A package as `deno info --json` has it. */
export interface NpmPackage {
  readonly name: string;
  readonly version: string;
  readonly dependencies: readonly string[];
  readonly localPath: string;
}

/** What is read of a lock file. */
export interface Lock {
  readonly npm: Readonly<Record<string, { readonly integrity: string }>>;
}

/**
 * The packages of the program that begins with a file.
 *
 * @throws {Error} when Deno does not know the program, and as `listPackages` does
 */
export async function packagesOf(entry: string): Promise<Package[]> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", entry],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  const info: Info = JSON.parse(new TextDecoder().decode(stdout));
  const lock: Lock = JSON.parse(await Deno.readTextFile(new URL("../../deno.lock", import.meta.url)));
  return listPackages(info, { lock, licenseOf: readLicense });
}

/**
 * The packages in the order of their ids.
 *
 * @throws {Error} when a module is of no package and not the program's own, or a package is not in the lock file: the list would lack it
 */
export function listPackages(
  { modules, npmPackages }: Info,
  { lock, licenseOf }: { lock: Lock; licenseOf: (folder: string) => string | undefined },
): Package[] {
  const stranger = modules.find(({ specifier }) => !/^(file|npm|node):/.test(specifier));
  if (stranger) throw new Error(`Cannot list ${stranger.specifier}: it is of no npm package`);
  const direct = new Set(modules.map(({ npmPackage }) => npmPackage).filter((id) => id !== undefined));
  return [...reached(direct, npmPackages)].map(([id, { name, version, dependencies, localPath }]) => ({
    id,
    name,
    version,
    license: licenseOf(localPath),
    sha512: sha512Of(id, lock),
    dependencies: dependencies.toSorted(),
    isDirect: direct.has(id),
  })).sort((a, b) => a.id < b.id ? -1 : 1);
}

/** Some packages and all that they need: Deno knows those of the development, too. */
function reached(ids: ReadonlySet<string>, all: Info["npmPackages"]): Map<string, NpmPackage> {
  const found = new Map<string, NpmPackage>();
  const open = [...ids];
  for (let id = open.pop(); id !== undefined; id = open.pop()) {
    const next = all[id];
    if (next === undefined || found.has(id)) continue;
    found.set(id, next);
    open.push(...next.dependencies);
  }
  return found;
}

function sha512Of(id: string, { npm }: Lock): string {
  const [, base64] = /^sha512-(.+)$/.exec(npm[id]?.integrity ?? "") ?? [];
  if (base64 === undefined) throw new Error(`Cannot list ${id}: deno.lock has no SHA-512 of it`);
  return Uint8Array.fromBase64(base64).toHex();
}

function readLicense(folder: string): string | undefined {
  const { license } = JSON.parse(Deno.readTextFileSync(`${folder}/package.json`)) as { license?: unknown };
  return typeof license === "string" ? license : undefined;
}
