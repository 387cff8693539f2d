/**
 * CPU, memory and other resources of one session. Pure.
 * @module
 */
import * as v from "valibot";
import { asRecord } from "../common/json.ts";
import { parseQuantity } from "../common/quantities.ts";
import {
  documented,
  domainOf,
  field,
  fields,
  isSet,
  mapping,
  orNumber,
  quantity,
  type QuantityBounds,
  type Schema,
  shown,
} from "../common/schema.ts";

/** What a session gets where neither its request nor its template says otherwise. */
export const DEFAULT_MEMORY = "2Gi";
export const DEFAULT_CPU = "1000m";

const GIB = 2 ** 30;
const MAX_ENTRIES = 16;
const NODE_RESOURCES = ["cpu", "memory", "ephemeral-storage"] as const;

/** Bounds of a session's memory, in bytes. Less than the minimum is a missing unit ("2" is two bytes), and no desktop starts with it. */
export function memoryBounds(maxMemory: number): QuantityBounds {
  return {
    min: 16 * 2 ** 20,
    max: maxMemory * GIB,
    minText: "16Mi",
    maxText: `${maxMemory}Gi, the limit of this agent`,
    example: DEFAULT_MEMORY,
  };
}

/** Bounds of a session's CPU, in cores. */
export function cpuBounds(maxCpu: number): QuantityBounds {
  return {
    min: 0.001,
    max: maxCpu,
    minText: "1m",
    maxText: `${maxCpu} cores, the limit of this agent`,
    example: DEFAULT_CPU,
  };
}

/** A quantity in a template, which may be a YAML number; the OpenAPI schema cannot express its bounds. */
export function templateQuantity(bounds: QuantityBounds, description: string): Schema<string> {
  return documented(orNumber(quantity(bounds)), description, OPENAPI_QUANTITY);
}

/** How Kubernetes describes a quantity. `0.5` without quotes is a JSON number that no structural schema can allow. */
const OPENAPI_QUANTITY = {
  "x-kubernetes-int-or-string": true,
  pattern: "^[0-9]{1,15}(\\.[0-9]{1,9})?(m|[kMGTP]|[KMGTP]i)?$",
};

/** A size on disk from 1Mi to 1Pi. */
export function diskSize(description: string): Schema<string> {
  return templateQuantity(
    { min: 2 ** 20, max: 2 ** 50, minText: "1Mi", maxText: "1Pi", example: "10Gi" },
    description,
  );
}

const WRONG_COUNT = shown("must be an integer from 1 to 999999");

type Amounts = Readonly<Record<string, string>>;

const NODE_AMOUNTS = {
  cpu: v.optional(templateQuantity(cpuBounds(Infinity), 'CPU cores, such as `2`, `"0.5"` or `500m`.')),
  memory: v.optional(templateQuantity(memoryBounds(Infinity), "Memory, such as `2Gi`.")),
  "ephemeral-storage": v.optional(diskSize("Space in the container's file system.")),
};

/** Extended resources such as GPUs; `known` are the names of the other fields, in lower case. */
function extendedAmounts(known: readonly string[]): Schema<Record<string, string>> {
  return v.pipe(
    v.unknown(),
    v.rawTransform(({ dataset, addIssue }) => {
      const entries = Object.entries(asRecord(dataset.value) ?? {});
      if (entries.length > MAX_ENTRIES) addIssue({ message: `must have at most ${MAX_ENTRIES} entries` });
      return Object.fromEntries(
        entries.filter(([name, value]) => isSet(value) && !known.includes(name.toLowerCase())),
      );
    }),
    mapping(
      v.pipe(
        v.string(),
        v.check(
          (name) => Boolean(domainOf(name)) && !name.startsWith("requests."),
          `must be ${NODE_RESOURCES.join(", ")} or an extended resource such as nvidia.com/gpu`,
        ),
      ),
      orNumber(v.pipe(v.string(WRONG_COUNT), v.regex(/^[1-9]\d{0,5}$/, WRONG_COUNT))),
    ),
  );
}

function amounts(description: string): v.NullishSchema<Schema<Amounts>, undefined> {
  const schema = v.pipe(
    v.intersect([fields(NODE_AMOUNTS), extendedAmounts(NODE_RESOURCES)]),
    v.transform((all): Amounts => all),
  );
  return v.nullish(
    documented(schema, description, { type: "object", additionalProperties: OPENAPI_QUANTITY }),
  );
}

/** `defaultResources`: amounts, or the same in `requests` and `limits`. A session requests what it is limited to, so the limits win. */
export const RESOURCES: Schema<Amounts> = v.pipe(
  v.intersect([
    fields({
      ...NODE_AMOUNTS,
      requests: amounts("Amounts by resource name; used where `limits` has none."),
      limits: amounts("Amounts by resource name."),
    }),
    extendedAmounts([...NODE_RESOURCES, "requests", "limits"]),
  ]),
  v.rawTransform(({ dataset, addIssue }) => {
    const { requests = {}, limits = {}, ...others } = dataset.value as {
      readonly requests?: Amounts;
      readonly limits?: Amounts;
    };
    for (const [name, limit] of Object.entries(limits)) {
      const request = Object.hasOwn(requests, name) ? requests[name] : undefined;
      if (request === undefined || (parseQuantity(request) ?? 0) <= (parseQuantity(limit) ?? 0)) continue;
      addIssue({
        message: `must not be more than the limit of ${limit}, but is ${request}`,
        path: [field("requests"), field(name)],
      });
    }
    return { ...others, ...requests, ...limits } as Amounts;
  }),
);
