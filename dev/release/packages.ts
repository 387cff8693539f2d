/**
 * Lists the npm packages of a program: from the modules that Deno reports, hashes of the lock file, and licenses of the packages.
 * @module
 */

/** One package of the program. */
export interface Package {
  /** Name and version as in the lock file, with peer dependencies, which distinguish two instances of a package. */
  readonly id: string;
  readonly name: string;
  readonly version: string;
  /** From its package.json. */
  readonly license: string | undefined;
  /** SHA-512 of the registry's archive, in hexadecimal. */
  readonly sha512: string;
  /** Ids of its dependencies. */
  readonly dependencies: readonly string[];
  /** Whether modules of the program import it directly. */
  readonly isDirect: boolean;
}

/** The used part of `deno info --json`. */
export interface Info {
  readonly modules: readonly { readonly specifier: string; readonly npmPackage?: string }[];
  readonly npmPackages: Readonly<Record<string, NpmPackage>>;
}

/** A package in `deno info --json`. */
export interface NpmPackage {
  readonly name: string;
  readonly version: string;
  readonly dependencies: readonly string[];
  readonly localPath: string;
}

/** The used part of a lock file. */
export interface Lock {
  readonly npm: Readonly<Record<string, { readonly integrity: string }>>;
}

/**
 * Lists the packages of the program with the given entry point.
 *
 * @throws {Error} when Deno cannot resolve the program, and like `listPackages`
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
 * Lists the packages, sorted by id.
 *
 * @throws {Error} when a module belongs neither to a package nor to the program, or a package is not in the lock file: the list would be incomplete
 */
export function listPackages(
  { modules, npmPackages }: Info,
  { lock, licenseOf }: { lock: Lock; licenseOf: (folder: string) => string | undefined },
): Package[] {
  const stranger = modules.find(({ specifier }) => !/^(file|npm|node):/.test(specifier));
  if (stranger) throw new Error(`Cannot list ${stranger.specifier}: it does not belong to an npm package`);
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

/** The given packages and their dependencies. Deno also reports packages for development, which are left out. */
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
  if (base64 === undefined) throw new Error(`Cannot list ${id}: deno.lock has no SHA-512 for it`);
  return Uint8Array.fromBase64(base64).toHex();
}

function readLicense(folder: string): string | undefined {
  const { license } = JSON.parse(Deno.readTextFileSync(`${folder}/package.json`)) as { license?: unknown };
  return typeof license === "string" ? license : undefined;
}
