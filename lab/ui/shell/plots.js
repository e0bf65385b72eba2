// What every chart has, and when plotly.js is there to draw it.
import { h } from "./dom.js";
import { say } from "./words.js";

export const UNUSED_BUTTONS = ["select2d", "lasso2d", "autoScale2d"];
const UNITS = ["", "B", " %", " s"];

// The value of a custom property of the style sheets: plotly knows none.
export const styleValue = (name) =>
  getComputedStyle(document.querySelector(".gradio-container") || document.body)
    .getPropertyValue(name)
    .trim();

export const resolvedColour = (colour) => (colour.startsWith("var(") ? styleValue(colour.slice(4, -1)) : colour);

// Plotly's own buttons say what they do in the language of the page, and the one that would upload a chart is not there.
export const plotConfig = (more = {}, unit = "") => ({
  locale: "lab" + unit,
  displaylogo: false,
  showSendToCloud: false,
  plotlyServerURL: "",
  responsive: true,
  modeBarButtonsToRemove: UNUSED_BUTTONS,
  ...more,
});

const waiting = new Set();

// plotly.js of the installed wheel is run when the first chart is to be drawn: it is large, and a page has other things to show before.
// Whether charts can be drawn now; if not, `draw` is called as soon as they can.
export const canDraw = (draw) => {
  if (window.Plotly) return true;
  const takeAll = () => {
    const all = [...waiting];
    waiting.clear();
    return all;
  };
  const words = Object.entries(window.LAB_WORDS)
    .filter(([key]) => key.startsWith("plotly."))
    .map(([key, [english]]) => [english, say(key)]);
  const begin = () => {
    // a locale per unit: plotly leaves a suffix off between the powers of ten of a logarithmic axis, but not what d3 takes for a currency
    for (const unit of UNITS)
      Plotly.register({ moduleType: "locale", name: "lab" + unit, dictionary: Object.fromEntries(words), format: { currency: ["", unit] } });
    takeAll().forEach((one) => one());
  };
  if (!waiting.size) document.head.append(h("script", { src: window.LAB_PLOTLY, onload: begin, onerror: takeAll }));
  waiting.add(draw);
  return false;
};
