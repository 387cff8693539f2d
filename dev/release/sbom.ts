/**
 * The software bill of materials (SBOM) of a release in CycloneDX 1.6. Pure.
 * @module
 */
import { Enums, Models, Serialize, SPDX, Spec } from "@cyclonedx/cyclonedx-library";
import type { Package } from "./packages.ts";

/** A release. */
export interface Release {
  readonly name: string;
  readonly version: string;
  /** Version of Deno in its executables. */
  readonly deno: string;
  readonly packages: readonly Package[];
  readonly time: Date;
}

/** Builds the document; the same release gives the same bytes. */
export function sbom({ name, version, deno, packages, time }: Release): string {
  const program = new Models.Component(Enums.ComponentType.Application, name, {
    version,
    bomRef: `${name}@${version}`,
  });
  const runtime = new Models.Component(Enums.ComponentType.Platform, "deno", {
    version: deno,
    bomRef: `deno@${deno}`,
    purl: `pkg:github/denoland/deno@v${deno}`,
    licenses: new Models.LicenseRepository([new Models.SpdxLicense("MIT")]),
  });
  const components = new Map(packages.map((each) => [each.id, component(each)]));
  add(program, runtime);
  for (const { id, dependencies, isDirect } of packages) {
    if (isDirect) add(program, components.get(id));
    for (const other of dependencies) add(components.get(id), components.get(other));
  }
  const bom = new Models.Bom({
    metadata: new Models.Metadata({ timestamp: time, component: program }),
    components: new Models.ComponentRepository([runtime, ...components.values()]),
  });
  const normalizers = new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6);
  return `${new Serialize.JsonSerializer(normalizers).serialize(bom, { sortLists: true, space: 2 })}\n`;
}

function component({ id, name, version, license, sha512 }: Package): Models.Component {
  const [scope, bare] = name.startsWith("@") ? name.split("/") : [undefined, name];
  return new Models.Component(Enums.ComponentType.Library, bare ?? name, {
    ...(scope === undefined ? {} : { group: scope }),
    version,
    bomRef: id,
    purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
    hashes: new Models.HashDictionary([[Enums.HashAlgorithm["SHA-512"], sha512]]),
    licenses: new Models.LicenseRepository(license === undefined ? [] : [licenseOf(license)]),
  });
}

function licenseOf(text: string): Models.License {
  return SPDX.isSupportedSpdxId(text) ? new Models.SpdxLicense(text) : new Models.NamedLicense(text);
}

function add(from: Models.Component | undefined, to: Models.Component | undefined): void {
  if (from && to) from.dependencies.add(to.bomRef);
}
