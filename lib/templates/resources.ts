/**
 * CPU, memory and other resources of one session. Pure.
 * @module
 */
import * as v from "valibot";
import { asRecord } from "../common/json.ts";
import { parseQuantity } from "../common/quantities.ts";
import * as s from "../common/schema.ts";

/** What a session gets if neither its request nor its template sets it. */
export const DEFAULT_MEMORY = "2Gi";
export const DEFAULT_CPU = "1000m";

const MAX_ENTRIES = 16;
const NODE_RESOURCES = ["cpu", "memory", "ephemeral-storage"];
/** A structural schema cannot allow fractions that are JSON numbers, such as an unquoted `0.5`. */
const OPENAPI_QUANTITY = {
  "x-kubernetes-int-or-string": true,
  pattern: "^[0-9]{1,15}(\\.[0-9]{1,9})?(m|[kMGTP]|[KMGTP]i)?$",
};
const COUNT = s.orNumber(
  s.pattern(/^[1-9]\d{0,5}$/, s.shown("must be an integer from 1 to 999999")),
);
const EXTENDED_RESOURCE: s.Schema<string> = v.pipe(
  v.string(),
  v.check(
    (name) => Boolean(s.domainOf(name)) && !name.startsWith("requests."),
    `must be ${NODE_RESOURCES.join(", ")} or an extended resource such as nvidia.com/gpu`,
  ),
);

/** Memory of a session, in bytes. A smaller amount lacks its unit ("2" is two bytes), and no desktop starts with it. */
export function memoryBounds(maxMemory: number): s.QuantityBounds {
  const maxText = `${maxMemory}Gi, the limit of this agent`;
  return { min: 2 ** 24, minText: "16Mi", max: maxMemory * 2 ** 30, maxText, example: DEFAULT_MEMORY };
}

/** CPU of a session, in cores. */
export function cpuBounds(maxCpu: number): s.QuantityBounds {
  const maxText = `${maxCpu} cores, the limit of this agent`;
  return { min: 0.001, minText: "1m", max: maxCpu, maxText, example: DEFAULT_CPU };
}

/** A quantity in a template, where it may be a number. */
export function templateQuantity(bounds: s.QuantityBounds, description: string) {
  return s.optional(s.orNumber(s.quantity(bounds)), description, OPENAPI_QUANTITY);
}

/** A size on disk from 1Mi to 1Pi. */
export function diskSize(description: string) {
  const bounds = { min: 2 ** 20, minText: "1Mi", max: 2 ** 50, maxText: "1Pi", example: "10Gi" };
  return templateQuantity(bounds, description);
}

type Amounts = Readonly<Record<string, string>>;

const NODE_AMOUNTS = {
  cpu: templateQuantity(cpuBounds(Infinity), 'CPU cores, such as `2`, `"0.5"` or `500m`.'),
  memory: templateQuantity(memoryBounds(Infinity), "Memory, such as `2Gi`."),
  "ephemeral-storage": diskSize("Space in the container's file system."),
};

/** The fields of an object that are set and that are not among the known ones: extended resources such as GPUs. */
function extendedAmounts(known: readonly string[]): s.Schema<Amounts> {
  return v.pipe(
    v.unknown(),
    v.check(
      (amounts) => Object.keys(asRecord(amounts) ?? {}).length <= MAX_ENTRIES,
      `must have at most ${MAX_ENTRIES} entries`,
    ),
    v.transform((amounts) => {
      const entries = Object.entries(asRecord(amounts) ?? {});
      return Object.fromEntries(
        entries.filter(([name, value]) => s.isSet(value) && !known.includes(name.toLowerCase())),
      );
    }),
    s.mapping(EXTENDED_RESOURCE, COUNT),
  );
}

const AMOUNTS: s.Schema<Amounts> = v.pipe(
  v.intersect([s.fields(NODE_AMOUNTS), extendedAmounts(NODE_RESOURCES)]),
  v.transform((amounts): Amounts => amounts),
);
const OPENAPI_AMOUNTS = { type: "object", additionalProperties: OPENAPI_QUANTITY };

/** `defaultResources`: amounts, or the same in `requests` and `limits`. Limits win, as a session requests all that it is limited to. */
export const RESOURCES: s.Schema<Amounts> = v.pipe(
  v.intersect([
    s.fields({
      ...NODE_AMOUNTS,
      requests: s.nullish(AMOUNTS, "Amounts by resource name; `limits` override them.", OPENAPI_AMOUNTS),
      limits: s.nullish(AMOUNTS, "Amounts by resource name.", OPENAPI_AMOUNTS),
    }),
    extendedAmounts([...NODE_RESOURCES, "requests", "limits"]),
  ]),
  v.rawTransform(({ dataset, addIssue }): Amounts => {
    const { requests = {}, limits = {}, ...others } = dataset.value as {
      readonly requests?: Amounts;
      readonly limits?: Amounts;
    };
    for (const [name, request] of Object.entries(requests)) {
      const limit = Object.hasOwn(limits, name) ? limits[name] : undefined;
      if (limit === undefined || (parseQuantity(request) ?? 0) <= (parseQuantity(limit) ?? 0)) continue;
      const message = `must not be more than the limit of ${limit}, but is ${request}`;
      addIssue({ message, path: [s.field("requests"), s.field(name)] });
    }
    return { ...others, ...requests, ...limits };
  }),
);
