// The bench's draft: values by their dotted paths, and what its parts tell each other.
import "./browser.mjs";
import assert from "node:assert/strict";
import { test } from "node:test";

const { chosenDevice, currentDraft, DEVICE, provideDraft, readPath, rememberPrint, shownPrints, writePath } = await import("../../lab/ui/bench/draft.js");
const { storeItem } = await import("../../lab/ui/shell/storage.js");

test("a value is read and written by its path, through lists and through what is not there yet", () => {
  const draft = { method: { deltas: [{ rank: 8, schedule: null }] }, training: {} };
  assert.equal(readPath(draft, "method.deltas.0.rank"), 8);
  assert.equal(readPath(draft, "method.deltas.1.rank"), undefined);
  assert.equal(readPath(draft, "method.deltas.0.schedule"), null);
  assert.equal(readPath(draft, "method.deltas.0.schedule.name"), undefined);
  writePath(draft, "method.deltas.0.schedule.name", "adalora");
  writePath(draft, "training.lr", 0.1);
  writePath(draft, "selection.what", "bias");
  assert.deepEqual(draft, { method: { deltas: [{ rank: 8, schedule: { name: "adalora" } }] }, training: { lr: 0.1 }, selection: { what: "bias" } });
});

test("every written value is read back", () => {
  for (const value of [0, "", null, false, [1, 2], { a: 1 }]) {
    const draft = {};
    writePath(draft, "a.b.c", value);
    assert.equal(readPath(draft, "a.b.c"), value);
  }
});

test("the parts of the bench see the draft that the knobs have, and their own prints", () => {
  assert.deepEqual(currentDraft(), {});
  provideDraft(() => ({ model: "minilm-l6" }));
  assert.deepEqual(currentDraft(), { model: "minilm-l6" });
  rememberPrint("figure", "1a");
  const prints = shownPrints();
  prints.figure = "changed by somebody";
  assert.deepEqual(shownPrints(), { figure: "1a" });
});

test("only a device that is offered is planned for", () => {
  assert.equal(chosenDevice(), "");
  storeItem(DEVICE, "40");
  assert.equal(chosenDevice(), "40");
  storeItem(DEVICE, "1e9");
  assert.equal(chosenDevice(), "");
});

test("runs to build on: one is chosen or taken away, in the order of choice", async () => {
  const made = [];
  const before = document.createElement;
  document.createElement = (tag) => {
    const heard = {};
    const one = { tag, heard, append() {}, setAttribute() {}, addEventListener: (name, act) => (heard[name] = act) };
    made.push(one);
    return one;
  };
  globalThis.LAB_WORDS["bench.built_on"] = ["Built on earlier runs", "基于先前的运行"];
  const { builtOn } = await import("../../lab/ui/bench/built_on.js");
  const turned = [];
  const runs = ["one", "two"].map((name) => ({ name: name + "/best", title: name }));
  const fields = [{ path: "stand_on", kind: "list", help: "", help_zh: "", label: "stand on", zh: "叠加于" }];
  const doc = { built_on: { stand_on: ["two/best"] } };
  const form = { doc, schema: { runs, built_on: fields }, opened: new Set(), set: (path, value) => turned.push([path, value]) };
  builtOn(form);
  document.createElement = before;
  made.filter((one) => one.tag === "button").forEach((one) => one.heard.click({}));
  assert.deepEqual(turned, [
    ["built_on.stand_on", ["two/best", "one/best"]],
    ["built_on.stand_on", []],
  ]);
});
