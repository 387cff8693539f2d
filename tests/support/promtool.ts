/**
 * Prometheus' own checks: `promtool`, which `PROMTOOL` names, and the unit tests of rules that it runs.
 * Source: https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
 * @module
 */

/** Path of promtool; empty where there is none. */
export const PROMTOOL = Deno.env.get("PROMTOOL") ?? "";

/** One alert that is to fire, or not. */
export interface AlertCase {
  readonly alert: string;
  /** What is the case. */
  readonly name: string;
  /** Series and their values, one a minute, in promtool's notation. */
  readonly series: Readonly<Record<string, string>>;
  /** When it is looked at, such as `10m`. */
  readonly at: string;
  /** Labels of the alert, without its severity; absent where it must not fire. */
  readonly fires?: Readonly<Record<string, string>>;
  /** The alert's value as its text shows it. */
  readonly shown?: string;
}

/** An alert of a rules file. */
export interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** Runs promtool and gives its exit code and all that it printed. */
export async function promtool(
  args: readonly string[],
  input = "",
): Promise<{ code: number; output: string }> {
  const child = new Deno.Command(PROMTOOL, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout) + decoder.decode(stderr) };
}

/** A file of unit tests as promtool reads it, with the texts of the rules themselves. */
export function unitTests(rulesPath: string, rules: readonly AlertRule[], cases: readonly AlertCase[]) {
  return {
    rule_files: [rulesPath],
    evaluation_interval: "1m",
    tests: cases.map(({ alert, name, series, at, fires, shown }) => ({
      name: `${alert}: ${name}`,
      interval: "1m",
      input_series: Object.entries(series).map(([series, values]) => ({ series, values })),
      alert_rule_test: [{
        eval_time: at,
        alertname: alert,
        exp_alerts: fires ? [expected(ruleOf(rules, alert), { fires, shown })] : [],
      }],
    })),
  };
}

function ruleOf(rules: readonly AlertRule[], alert: string): AlertRule {
  const rule = rules.find((one) => one.alert === alert);
  if (!rule) throw new Error(`There is no alert ${alert}`);
  return rule;
}

function expected(
  { labels, annotations }: AlertRule,
  { fires, shown = "" }: { fires: Readonly<Record<string, string>>; shown: string | undefined },
) {
  const filled = Object.entries(annotations).map(([name, text]) => [
    name,
    text.replace(/\{\{ \$labels\.(\w+) \}\}/g, (_, label) => fires[label] ?? "")
      .replace(/\{\{ \$value[^}]*\}\}/g, shown),
  ]);
  return { exp_labels: { ...labels, ...fires }, exp_annotations: Object.fromEntries(filled) };
}
