// A design in its address, the draft of each tab, undo and redo, and the keys of the pages.
import "./browser.mjs";
import assert from "node:assert/strict";
import { test } from "node:test";

const { designAddress, followDesign, startingDraft } = await import("../../lab/ui/bench/address.js");
const { DesignHistory, stepOf } = await import("../../lab/ui/bench/undo.js");
const { addressParameters, keptText, setAddressParameters, storeDraft, storedDraft } = await import("../../lab/ui/shell/storage.js");
const { choosing, pageLetters, typing } = await import("../../lab/ui/shell/shortcuts.js");

const design = (rank) => ({ model: "minilm-l6", method: { deltas: [{ rank }] } });
const usual = { model: "minilm-l6", method: "lora" };
const forget = () => {
  localStorage.clear();
  sessionStorage.clear();
};

test("an address says the design alone, and keeps the look", () => {
  location.href = "http://127.0.0.1/?__theme=dark&method=lora&old=1";
  assert.deepEqual(addressParameters(), { method: "lora", old: "1" });
  setAddressParameters({ method: "mam", "method.deltas.0.rank": "4" });
  assert.equal(location.href, "http://127.0.0.1/?__theme=dark&method=mam&method.deltas.0.rank=4");
});

test("each tab has its own draft; a new one starts from the last of any", () => {
  forget();
  assert.equal(storedDraft(), null);
  storeDraft(design(1));
  localStorage.setItem("lab_bench_draft_1", JSON.stringify(design(2))); // by another tab
  assert.deepEqual(storedDraft(), design(1));
  sessionStorage.clear(); // a new tab
  assert.deepEqual(storedDraft(), design(2));
  localStorage.setItem("lab_bench_draft_1", "{}");
  assert.equal(storedDraft(), null);
});

test("so has what is typed into a field; one that is emptied stays empty", () => {
  forget();
  const field = () => keptText({ value: "", addEventListener: (_, hear) => (typed = hear) }, "question");
  let typed;
  const here = field();
  here.value = "mine";
  typed();
  localStorage.setItem("lab_text_question", JSON.stringify("another tab's"));
  assert.equal(field().value, "mine");
  const emptied = field();
  emptied.value = "";
  typed();
  localStorage.setItem("lab_text_question", JSON.stringify("another tab's"));
  assert.equal(field().value, "");
  sessionStorage.clear(); // a new tab
  assert.equal(field().value, "another tab's");
});

test("an address that the tab did not write is asked of the server; its own leaves the draft, also where that is no design yet", async (context) => {
  forget();
  context.mock.timers.enable({ apis: ["setTimeout"] });
  location.href = "http://127.0.0.1/";
  assert.deepEqual(startingDraft(usual), usual);
  location.href = "http://127.0.0.1/?method=mam&__theme=dark";
  assert.deepEqual(startingDraft(usual), { ...usual, link: { method: "mam" } });
  storeDraft(design(1));
  followDesign({ link: "1", method: "lora" });
  followDesign({ link: "1", method: "mam" }); // before the pause was over
  context.mock.timers.tick(1000);
  assert.equal(location.href, "http://127.0.0.1/?__theme=dark&link=1&method=mam");
  storeDraft(design(""));
  followDesign({}); // no design: the address stays
  context.mock.timers.tick(1000);
  assert.deepEqual(startingDraft(usual), design(""));
  location.href = "http://127.0.0.1/?run=abcdefgh";
  assert.deepEqual(startingDraft(usual), { ...design(""), run: "abcdefgh" });
  Object.assign(location, { origin: "http://127.0.0.1", pathname: "/" });
  assert.equal(designAddress({ name: "a & b", "training.steps": "3" }), "http://127.0.0.1/?name=a+%26+b&training.steps=3");
});

test("undo and redo walk the designs; a knob that is turned on is one step; a new change ends redo", () => {
  forget();
  let now = 0;
  const kept = new DesignHistory(() => now);
  const turn = (from, to, path, wait = 5000) => {
    now += wait;
    kept.note(design(from), design(to), path);
  };
  turn(1, 1, "seed");
  assert.equal(kept.undo(design(1)), null);
  turn(1, 2, "rank");
  turn(2, 3, "rank", 10);
  turn(3, 4, "rank");
  turn(4, 5, "seed", 10);
  assert.deepEqual(kept.undo(design(5)), design(4));
  assert.deepEqual(kept.undo(design(4)), design(3));
  assert.deepEqual(kept.undo(design(3)), design(1));
  assert.equal(kept.undo(design(1)), null);
  assert.deepEqual(kept.redo(design(1)), design(3));
  assert.deepEqual(new DesignHistory().undo(design(3)), design(1), "over a reload");
  turn(3, 9, "rank");
  assert.equal(kept.redo(design(9)), null);
  for (let rank = 0; rank < 100; rank++) turn(rank, rank + 1, "rank");
  let steps = 0;
  for (let at = design(100); (at = kept.undo(at));) steps++;
  assert.equal(steps, 40);
  sessionStorage.setItem("lab_bench_history_1", JSON.stringify({ past: [null, 3, {}], next: "x" }));
  assert.equal(new DesignHistory().undo(design(1)), null);
});

test("keys of undo and redo", () => {
  const keys = (key, more) => stepOf({ key, ctrlKey: false, metaKey: false, shiftKey: false, altKey: false, ...more });
  assert.equal(keys("z", { ctrlKey: true }), "undo");
  assert.equal(keys("Z", { metaKey: true, shiftKey: true }), "redo");
  assert.equal(keys("y", { ctrlKey: true }), "redo");
  assert.deepEqual([keys("z"), keys("z", { ctrlKey: true, altKey: true }), keys("y", { metaKey: true }), keys("a", { ctrlKey: true })], ["", "", "", ""]);
});

test("every page has a letter of its own, and keys that belong to a text are left to it", () => {
  const names = ["bench", "library", "runs", "compare", "sweep", "search", "combine", "tryit", "inside", "data", "export"];
  const letters = pageLetters(names);
  assert.deepEqual(Object.values(letters), names);
  assert.equal(letters.b, "bench");
  assert.equal(typing({ target: { closest: () => null } }), false);
  assert.equal(typing({ target: { closest: () => ({}) } }), true);
  const list = { target: { closest: (selector) => (/(^|, )select/.test(selector) ? {} : null) } };
  assert.deepEqual([typing(list), choosing(list)], [false, true]);
  assert.equal(typing({ defaultPrevented: true, target: {} }), true);
});
