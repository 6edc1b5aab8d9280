// dashboard.mjs FILE: TypeScript in which a dashboard's JSON is literals of Grafana's types, for the compiler to find fields that there
// are not and values that are none.
import { readFileSync } from "node:fs";

const dashboard = JSON.parse(readFileSync(process.argv[2], "utf8"));
const kinds = { stat: "Stat", timeseries: "TimeSeries" };
const lines = [
  `import type { Dashboard } from "@grafana/schema";`,
  ...Object.entries(kinds).map(
    ([kind, name]) => `import type * as ${kind} from "@grafana/schema/dist/esm/raw/composable/${kind}/panelcfg/x/${name}PanelCfg_types.gen.js";`),
  // A value of an enumeration is a string in JSON.
  "type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;",
  `export const dashboard: Plain<Dashboard> = ${JSON.stringify(dashboard)};`,
];
for (const { id, type, title, options, fieldConfig } of dashboard.panels) {
  if (type === "row") continue;
  if (!kinds[type]) throw new Error(`${title}: no types for a panel that is a ${type}`);
  lines.push(`export const options${id}: Plain<${type}.Options> = ${JSON.stringify(options)};`);
  if (fieldConfig.defaults.custom) lines.push(`export const custom${id}: Plain<${type}.FieldConfig> = ${JSON.stringify(fieldConfig.defaults.custom)};`);
}
console.log(lines.join("\n"));
