// The table of runs: its lines, and what a press selects.
import "./browser.mjs";
import assert from "node:assert/strict";
import { test } from "node:test";

const { linesOf, selected } = await import("../../lab/ui/runs/lines.js");

test("groups stand before their runs, which are there where the group is open", () => {
  assert.deepEqual(linesOf(["a", "b"], new Set()), [{ id: "a" }, { id: "b" }]);
  const order = [
    ["x", ["a", "b"]],
    ["y", ["c"]],
  ];
  assert.deepEqual(
    linesOf(order, new Set(["x"])).map((line) => line.id || line.group),
    ["x", "a", "b", "y"],
  );
});

test("a press selects one, Ctrl adds or takes away, Shift takes all between the anchor and it, either way", () => {
  const ids = ["a", "b", "c", "d"];
  assert.deepEqual([...selected(new Set(["a"]), ids, "c", "only", "a")], ["c"]);
  assert.deepEqual([...selected(new Set(["a"]), ids, "c", "toggle", "a")], ["a", "c"]);
  assert.deepEqual([...selected(new Set(["a", "c"]), ids, "a", "toggle", "a")], ["c"]);
  assert.deepEqual([...selected(new Set(["d"]), ids, "b", "range", "d")], ["b", "c", "d"]);
  assert.deepEqual([...selected(new Set(), ids, "b", "range", "gone")], ["b"]);
});
