// The shell's functions that need no page: numbers, words, storage, events, the list's news, curves.
import "./browser.mjs";
import assert from "node:assert/strict";
import { test } from "node:test";

const { formatBytes, formatNumber, mixedColour, smoothed } = await import("../../lab/ui/shell/numbers.js");
const { byLanguage, known, LANGUAGE, metricName, say } = await import("../../lab/ui/shell/words.js");
const { parsedJson, runIds, setAddress, storedItem, storeItem } = await import("../../lab/ui/shell/storage.js");
const { emit, listen } = await import("../../lab/ui/shell/events.js");
const { mergedRows } = await import("../../lab/ui/shell/run_list.js");
const { runChoice } = await import("../../lab/ui/shell/run_choice.js");
const { chartLayout, traceLines, valueRange } = await import("../../lab/ui/shell/chart_traces.js");
const { barWords, curveWords, pointWords } = await import("../../lab/ui/shell/chart_words.js");
const { register } = await import("../../lab/ui/shell/parts.js");

test("numbers keep three or four digits and take the unit that they round up to", () => {
  const written = {
    0: "0",
    0.00001: "1.0e-5",
    0.123456: "0.1235",
    12.5: "12.5",
    999.4: "999.4",
    999.6: "1 k",
    1234: "1.23 k",
    999600: "1 M",
    1.5e9: "1.5 G",
    "-2000": "-2 k",
  };
  for (const [value, text] of Object.entries(written)) assert.equal(formatNumber(Number(value)), text);
  assert.deepEqual([999, 1000, 1234567].map(formatBytes), ["999 B", "1.00 kB", "1.23 MB"]);
});

test("smoothing leaves a constant alone, starts at the first value, keeps gaps, and at weight 0 changes nothing", () => {
  for (const weight of [0, 0.5, 0.98]) for (const value of smoothed([3, 3, 3, 3], weight)) assert.ok(Math.abs(value - 3) < 1e-12);
  const curve = [1, null, 5, 2];
  assert.deepEqual(smoothed(curve, 0), curve);
  const [first, gap, third] = smoothed(curve, 0.8);
  assert.ok(Math.abs(first - 1) < 1e-12 && gap === null && third > 1 && third < 5);
});

test("a mixed colour goes from one end to the other", () => {
  assert.deepEqual(
    [0, 0.5, 1].map((share) => mixedColour("#000000", "#ff8001", share)),
    ["#000000", "#804001", "#ff8001"],
  );
});

test("a metric of one of several tasks is said with its task", () => {
  assert.equal(metricName("f1/cola"), "F1 · cola");
  assert.equal(metricName("exact_match/my-task"), "exact match · my-task");
  assert.equal(metricName("f1:spam/ham"), "F1 of spam/ham");
  assert.equal(metricName("average"), "average");
});

test("words are those of the page's language, filled in; a key without words stands for itself", () => {
  assert.equal(LANGUAGE, "en");
  assert.equal(say("bench.queued", { n: 3 }), "3 waiting");
  assert.equal(say("bench.queued"), "{n} waiting");
  assert.equal(say("no.such"), "no.such");
  assert.equal(known("no.such", "fallback"), "fallback");
  assert.deepEqual(["f1", "f1:spam", "exact_match"].map(metricName), ["F1", "F1 of spam", "exact match"]);
  assert.equal(byLanguage("rank", "秩"), "rank");
});

test("an address keeps what is chosen and loses what is emptied", () => {
  setAddress({ runs: "a,b", along: "" });
  assert.equal(new URL(location.href).searchParams.get("runs"), "a,b");
  setAddress({ runs: "" });
  assert.equal(location.href, "http://127.0.0.1/compare?__theme=dark");
});

test("what an address names is taken for a run only where it can be the id of one", () => {
  assert.deepEqual(runIds("abcdefgh,ab1cdef2,../../etc,ABCDEFGH,1bcdefgh,abc,"), ["abcdefgh", "ab1cdef2"]);
  assert.deepEqual([null, ""].map(runIds), [[], []]);
});

test("the browser's storage gives back what was put there, and nothing for what is no JSON", () => {
  storeItem("key", { a: [1, null] });
  assert.deepEqual(storedItem("key"), { a: [1, null] });
  storeItem("key", null);
  assert.equal(storedItem("key"), null);
  localStorage.setItem("key", "{");
  assert.equal(storedItem("key"), null);
  assert.deepEqual([parsedJson('{"a":1}'), parsedJson("{"), parsedJson(null)], [{ a: 1 }, null, null]);
});

test("an event reaches everybody who listens for it, in their order", () => {
  const heard = [];
  listen("here", (value) => heard.push(["one", value]));
  listen("here", (value) => heard.push(["two", value]));
  emit("here", 7);
  emit("elsewhere", 8);
  assert.deepEqual(heard, [
    ["one", 7],
    ["two", 7],
  ]);
});

test("a list put together from its news is the list", () => {
  const merged = mergedRows();
  const ids = (rows) => rows.map((row) => `${row.id}${row.state}`);
  assert.equal(merged(null), null);
  assert.deepEqual(
    ids(
      merged({
        rows: [
          { id: "a", state: 1 },
          { id: "b", state: 1 },
        ],
        whole: true,
        order: ["b", "a"],
      }),
    ),
    ["b1", "a1"],
  );
  assert.deepEqual(ids(merged({ rows: [{ id: "a", state: 2 }] })), ["b1", "a2"]);
  assert.deepEqual(ids(merged({ rows: [{ id: "c", state: 1 }], order: ["c", "a"] })), ["c1", "a2"]); // b is gone
  assert.deepEqual(ids(merged({ rows: [{ id: "d", state: 1 }], whole: true, order: ["d"] })), ["d1"]);
});

const RUNS = ["arun0001", "brun0002", "crun0003", "drun0004"].map((id, index) => ({ id, base: index === 3 ? "other" : "one" }));
const choiceOf = (address, more = {}) => {
  setAddress({ runs: address });
  return runChoice({ most: 2, ...more });
};

test("the runs of an address are chosen where they are there, at most so many; those that are not are told once", () => {
  const choice = choiceOf("brun0002,xrun0009,arun0001,brun0002,crun0003");
  assert.deepEqual(choice.take(RUNS), ["xrun0009"]);
  assert.deepEqual(
    [choice.ids(), choice.rows()],
    [
      ["brun0002", "arun0001"],
      [RUNS[1], RUNS[0]],
    ],
  );
  assert.ok(choice.full(RUNS[2]) && !choice.full(RUNS[0]), "no third one, but one of the two can be given back");
  assert.deepEqual([choice.take(RUNS.slice(1)), choice.ids()], [[], ["brun0002"]]); // deleted meanwhile
});

test("a click chooses a run or gives it back, the address says so, and one that is full or unknown changes nothing", () => {
  const choice = choiceOf("", { fits: (row, first) => row.base === first.base });
  choice.take(RUNS);
  const turned = RUNS.map(({ id }) => id).concat("nobody00", "arun0001");
  const address = () => new URL(location.href).searchParams.get("runs");
  assert.deepEqual(
    turned.map((id) => (choice.turn(id), address())),
    ["arun0001", "arun0001,brun0002", "arun0001,brun0002", "arun0001,brun0002", "arun0001,brun0002", "brun0002"],
  );
  assert.deepEqual([choice.full(RUNS[2]), choice.full(RUNS[3])], [false, true], "another base does not go with the first");
});

test("the newest run is chosen for who names none, as soon as there is one, and not again for who gave it back", () => {
  const choice = choiceOf("", { first: true });
  assert.deepEqual([choice.take([]), choice.ids()], [[], []]);
  choice.take(RUNS);
  assert.deepEqual(choice.ids(), ["arun0001"]);
  choice.turn("arun0001");
  choice.take(RUNS);
  assert.deepEqual(choice.ids(), []);
  const gone = choiceOf("xrun0009", { first: true });
  assert.deepEqual([gone.take(RUNS), gone.ids()], [["xrun0009"], []]);
  setAddress({ runs: "" });
});

const curve = (more) => ({ name: "loss", kind: "train", x: [...Array(50).keys()], y: Array(50).fill(1), colour: "var(--run-0)", ...more });

test("a smoothed curve has its own values faintly behind it; one of an evaluation is dashed and is not smoothed", () => {
  const [faint, smooth] = traceLines({ id: "loss", reads: ".4~g", traces: [curve()] }, 0.8);
  assert.ok(faint.opacity < 1 && faint.showlegend === false && smooth.line.width > faint.line.width);
  assert.equal(smooth.line.color, "value of --run-0");
  const lines = traceLines({ id: "loss", reads: ".4~g", traces: [curve({ kind: "eval" })] }, 0.8);
  assert.deepEqual(
    lines.map((line) => [line.line.dash, line.mode]),
    [["6px,4px", "lines"]],
  );
  const [few] = traceLines({ id: "loss", reads: ".4~g", traces: [curve({ kind: "eval", x: [1], y: [2] })] });
  assert.equal(few.mode, "lines+markers");
});

test("a name that somebody gave a run is no markup in a chart", () => {
  const [line] = traceLines({ id: "loss", reads: ".4~g", traces: [curve({ label: "<b>&run" })] });
  assert.ok(!/[<>&]/.test(line.name) && !line.hovertemplate.includes("<b>"));
});

test("a scatter of points at one place gets an axis around it", () => {
  const scatter = (points) => chartLayout({ id: "pareto", scatter: true, reads: ".3~s", unit: "B", points, papers: [], traces: [] }, "key", "", 230);
  const [low, high] = scatter([
    { x: 100, y: 1 },
    { x: 100, y: 2 },
  ]).xaxis.range;
  assert.ok(low < 2 && high > 2 && high - low < 0.1);
  assert.equal(
    scatter([
      { x: 1, y: 1 },
      { x: 100, y: 2 },
    ]).xaxis.range,
    undefined,
  );
});

test("a scatter over decades has few enough labels to be read", () => {
  const dtick = (...xs) =>
    chartLayout({ id: "pareto", scatter: true, reads: ".3~s", unit: "B", points: xs.map((x) => ({ x, y: 1 })), traces: [] }, "key", "", 230).xaxis.dtick;
  assert.deepEqual([dtick(700, 850), dtick(0.04, 0.3), dtick(9, 100), dtick(1, 1e6)], [undefined, "D2", "D2", 1]);
});

test("equal values stand in the middle of their axis, which goes below 0 for none that cannot", () => {
  const range = (values, more = {}, choices = {}) => valueRange({ traces: [curve({ x: values.map((_, x) => x), y: values })], ...more }, choices);
  for (const value of [0.75, 1e-6, 3e9, 0]) {
    const [low, high] = range([value, value, value]).range;
    assert.ok(low >= 0 && low <= value && high > value && high <= Math.max(1, 1.11 * value), `${value}: ${low} to ${high}`);
  }
  const [low, high] = range([-0.2, -0.2]).range;
  assert.ok(low < -0.2 && high > -0.2 && high < 0);
  assert.equal(range([5, 5], { zero: true }).range[0], 0);
  assert.deepEqual([range([0, 1]).range, range([0, 1]).floor, range([-1, 1]).floor], [null, 0, null]);
});

test("a logarithmic axis is for values above 0, and outliers are left out where there are some", () => {
  const chart = (values, more = {}) => ({ id: "loss", reads: ".4~g", traces: [curve({ x: values.map((_, x) => x), y: values })], ...more });
  const axis = (values, choices) => chartLayout({ ...chart(values), ...choices }, "key", "", 230).yaxis;
  assert.equal(axis([1, 10, 100], { log: true }).type, "log");
  assert.equal(axis([0, 10, 100], { log: true }).type, undefined);
  const spiky = [...Array(100).keys()].map((step) => (step === 50 ? 1e6 : 1 + step / 100));
  const found = valueRange(chart(spiky), { clip: true });
  assert.ok(found.outside === 1 && found.range[1] < 10 && found.range[0] >= 0);
  assert.deepEqual(axis(spiky, { clip: true }).range, found.range);
  assert.equal(valueRange(chart([1, 2, 3, 4]), { clip: true }).range, null);
  assert.ok(Math.abs(axis(spiky, { clip: true, log: true }).range[1]) < 1, "powers of ten");
});

test("what a chart shows is said in words made from its data", () => {
  Object.assign(globalThis.LAB_WORDS, {
    "drawn.none": ["nothing", ""],
    "drawn.next": ["; ", ""],
    "drawn.comma": [", ", ""],
    "drawn.curve": ["{name} {first} {start} {last} {end} {range}", ""],
    "drawn.range": ["{low}..{high}", ""],
    "drawn.constant": ["constant", ""],
    "drawn.best": [" best {value} {at}", ""],
    "drawn.curves": ["{n} curves {low} {lowest} {high} {highest}", ""],
    "drawn.between": ["{low}..{high}", ""],
    "drawn.points": ["{n} {x} {across} {y} {up}", ""],
    "drawn.at": ["{name} {y} {x}", ""],
    "drawn.front": [" front {names}", ""],
    "drawn.bar": ["{name} {total} {parts}", ""],
  });
  const one = { name: "loss", x: [1, 2, 3], y: [2, 0.5, null], better: "low" };
  assert.equal(curveWords([one], "step", "B"), "loss 2B step 1 0.5B step 2 0.5B..2B best 0.5B step 2");
  assert.equal(curveWords([{ ...one, y: [null, null, null] }], "step"), "nothing");
  const many = [...Array(9).keys()].map((n) => ({ name: `run ${n}`, x: [1], y: [n] }));
  assert.equal(curveWords(many, "step"), "9 curves 0 run 0 8 run 8");
  const points = [
    { label: "a", x: 1, y: 0.5 },
    { label: "b", x: 4, y: 0.4 },
  ];
  assert.equal(pointWords(points, [[1, 0.5]], "share", "accuracy", " %"), "2 share 1..4 % accuracy 0.4..0.5 front a 0.5 1 %");
  assert.equal(
    barWords(
      [
        {
          name: "plan",
          parts: [
            ["weights", 1000],
            ["rest", 0],
          ],
        },
      ],
      "B",
    ),
    "plan 1 kB weights 1 kB",
  );
});

test("two parts of one name are an error", () => {
  register({ nobodyElse: () => {} });
  assert.throws(() => register({ nobodyElse: () => {} }), /nobodyElse/);
});
