// The lines of the table of runs, and which of them are selected.
// What stands below each other: groups as {group, ids}, the runs of open ones behind them.
export const linesOf = (order, open) =>
  order.flatMap((entry) =>
    typeof entry === "string"
      ? [{ id: entry }]
      : [{ group: entry[0], ids: entry[1] }, ...(open.has(entry[0]) ? entry[1].map((id) => ({ id, below: true })) : [])],
  );

// The selection after a press on a run: `how` is only, toggle or range (from `anchor` to it, in the order of `ids`).
export const selected = (before, ids, id, how, anchor) => {
  if (how === "toggle") return new Set(before.has(id) ? [...before].filter((one) => one !== id) : [...before, id]);
  const [from, to] = [ids.indexOf(anchor), ids.indexOf(id)];
  if (how !== "range" || from < 0) return new Set([id]);
  return new Set(ids.slice(Math.min(from, to), Math.max(from, to) + 1));
};
