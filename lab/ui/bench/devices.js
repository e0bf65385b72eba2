// The options of a run over several devices: offered where there are several, or where the draft has them from a run elsewhere.
export const DEVICES = ["devices", "sharding"];

export function overDevices(knobs) {
  const most = Math.max(knobs.schema.accelerators, knobs.doc.training?.devices || 1);
  const numbers = Array.from({ length: most }, (_, index) => String(index + 1));
  const found = knobs.schema.training.filter((field) => DEVICES.includes(field.path));
  return most > 1 ? found.map((field) => (field.path === "devices" ? { ...field, choices: numbers } : field)) : [];
}
