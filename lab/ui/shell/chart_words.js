// What a chart shows, as sentences made from its data: for those who listen to the page.
import { formatNumber } from "./numbers.js";
import { say } from "./words.js";

const MOST = 6; // curves that are having one by one

const ends = (curve) => {
  const points = curve.x.map((x, index) => [x, curve.y[index]]).filter(([, y]) => y !== null && y !== undefined && !Number.isNaN(y));
  if (!points.length) return null;
  const least = points.reduce((a, b) => (b[1] < a[1] ? b : a));
  const most = points.reduce((a, b) => (b[1] > a[1] ? b : a));
  return { first: points[0], last: points.at(-1), least, most };
};

// `curves`: [{name, x, y, better?: "low" | "high"}]; `along`: what the x axis is; `unit`: of y
export const curveWords = (curves, along, unit = "") => {
  const value = (y) => formatNumber(y) + unit;
  const at = (x) => `${along} ${formatNumber(x)}`.trim();
  const having = curves.map((curve) => ({ ...curve, ends: ends(curve) })).filter((curve) => curve.ends);
  if (!having.length) return say("drawn.none");
  if (having.length > MOST) {
    const byLast = [...having].sort((a, b) => a.ends.last[1] - b.ends.last[1]);
    const [low, high] = [byLast[0], byLast.at(-1)];
    return say("drawn.curves", { n: having.length, low: value(low.ends.last[1]), lowest: low.name, high: value(high.ends.last[1]), highest: high.name });
  }
  const one = ({ name, better, ends: { first, last, least, most } }) => {
    if (first[0] === last[0]) return say("drawn.point", { name, value: value(last[1]), at: at(last[0]) });
    const range = least[1] === most[1] ? say("drawn.constant") : say("drawn.range", { low: value(least[1]), high: value(most[1]) });
    const best = better && (better === "low" ? least : most);
    const words = say("drawn.curve", { name, first: value(first[1]), start: at(first[0]), last: value(last[1]), end: at(last[0]), range });
    return best ? words + say("drawn.best", { value: value(best[1]), at: at(best[0]) }) : words;
  };
  return having.map(one).join(say("drawn.next"));
};

// `points`: [{label, x, y}]; `front`: [[x, y]] of those that no other beats
export const pointWords = (points, front, x, y, unit) => {
  if (!points.length) return say("drawn.none");
  const range = (values) => say("drawn.between", { low: formatNumber(Math.min(...values)), high: formatNumber(Math.max(...values)) });
  const best = points.filter((point) => front.some(([cost, value]) => cost === point.x && value === point.y));
  const named = best.slice(0, MOST).map((point) => say("drawn.at", { name: point.label, y: formatNumber(point.y), x: formatNumber(point.x) + unit }));
  return (
    say("drawn.points", { n: points.length, x, y, across: range(points.map((point) => point.x)) + unit, up: range(points.map((point) => point.y)) }) +
    (named.length ? say("drawn.front", { names: named.join(say("drawn.comma")) }) : "")
  );
};

// `columns`: [{name, parts: [[what, value]]}]
export const barWords = (columns, unit) => {
  const one = ({ name, parts }) =>
    say("drawn.bar", {
      name,
      total: formatNumber(parts.reduce((sum, [, value]) => sum + value, 0)) + unit,
      parts: parts
        .filter(([, value]) => value > 0)
        .map(([what, value]) => `${what} ${formatNumber(value)}${unit}`)
        .join(say("drawn.comma")),
    });
  return columns.length ? columns.map(one).join(say("drawn.next")) : say("drawn.none");
};
